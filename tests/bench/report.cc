#include "tests/bench/report.h"

#include <cstdio>

namespace retort {
namespace {

bool json = false;

}  // namespace

void ReportAsJson() { json = true; }
bool ReportsAsJson() { return json; }

void Report(const std::string& name, double value, const std::string& unit, BenchGoal goal) {
  const bool at_least = goal.kind == BenchGoal::kAtLeast;
  const bool met = at_least ? value >= goal.value : value <= goal.value;
  char wanted[64] = "";
  if (goal.kind != BenchGoal::kNone)
    std::snprintf(wanted, sizeof(wanted), "%s %g", at_least ? ">=" : "<=", goal.value);
  if (json) {
    const char* const quote = *wanted ? "\"" : "";
    std::printf("{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"goal\": %s%s%s, \"met\": %s}\n",
                name.c_str(), value, unit.c_str(), quote, *wanted ? wanted : "null", quote,
                !*wanted ? "null"
                : met    ? "true"
                         : "false");
  } else {
    std::printf("%-64s %10.4g %-10s %-9s %s\n", name.c_str(), value, unit.c_str(), wanted,
                *wanted ? (met ? "met" : "MISSED") : "");
  }
  std::fflush(stdout);
}

}  // namespace retort
