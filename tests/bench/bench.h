// The frame of kernel_bench: what an op's benchmark measures against a goal, printed for people or, with
// --json, as one object a line: {"name", "value", "unit", "goal", "met"}, the last two null where there is no
// goal. Not thread-safe.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace retort {

struct BenchGoal {
  enum Kind { kNone, kAtLeast, kAtMost } kind = kNone;
  double value = 0;
};
inline BenchGoal AtLeast(double value) { return {BenchGoal::kAtLeast, value}; }
inline BenchGoal AtMost(double value) { return {BenchGoal::kAtMost, value}; }

// The best time of each function, in seconds. In each of `rounds` rounds all run once, one after the other,
// so a noisy spell of the machine hits all alike; a round before the first warms up. Destroy big results
// inside the functions.
std::vector<double> TimeInterleaved(int rounds, const std::vector<std::function<void()>>& functions);

// Prints one figure. "goal" is null without one, else ">= 7" or "<= 1.1".
void Report(const std::string& name, double value, const std::string& unit, BenchGoal goal = {});

// Registers an op's benchmarks: static const bool registered = RegisterBench("ssd", &BenchSsd);
bool RegisterBench(const std::string& op, void (*run)());

}  // namespace retort
