// How the benchmark programs print a figure and its goal: for people or, with --json, as one object a line:
// {"name", "value", "unit", "goal", "met"}, the last two null where there is no goal. Not thread-safe.
#pragma once

#include <string>

namespace retort {

struct BenchGoal {
  enum Kind { kNone, kAtLeast, kAtMost } kind = kNone;
  double value = 0;
};
inline BenchGoal AtLeast(double value) { return {BenchGoal::kAtLeast, value}; }
inline BenchGoal AtMost(double value) { return {BenchGoal::kAtMost, value}; }

// From now on.
void ReportAsJson();
bool ReportsAsJson();

// Prints one figure. "goal" is null without one, else ">= 7" or "<= 1.1".
void Report(const std::string& name, double value, const std::string& unit, BenchGoal goal = {});

}  // namespace retort
