// The frame of the benchmark programs that compute. Not thread-safe.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/bench/report.h"

namespace retort {

// The best time of each function, in seconds. In each of `rounds` rounds all run once, one after the other,
// so a noisy spell of the machine hits all alike; a round before the first warms up. Destroy big results
// inside the functions.
std::vector<double> TimeInterleaved(int rounds, const std::vector<std::function<void()>>& functions);

// Registers benchmarks under the name that selects them: static const bool registered =
// RegisterBench("ssd", &BenchSsd);
bool RegisterBench(const std::string& name, void (*run)());

// What must be measured in a process of its own, because memory or a choice made once would carry over:
// RunInChild runs what is registered as `name` in a new process of this program, with `environment`
// ("KEY=value ...") added to its own, and returns the numbers; ends the program when the child fails. Names
// hold no quotes.
using ChildRun = std::function<std::vector<double>()>;
bool RegisterChild(const std::string& name, ChildRun run);
std::vector<double> RunInChild(const std::string& name, const std::string& environment);

}  // namespace retort
