// kernel_bench [--json] [OP ...]: the kernels beside LibTorch's best plain formulations, on two threads. Each
// op's benchmarks stand in OP_bench.cc.
#include <ATen/Parallel.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "core/base/process.h"
#include "kernels/base/instruction_set.h"
#include "tests/bench/bench.h"

namespace retort {
namespace {

bool json = false;

std::map<std::string, void (*)()>& Benches() {
  static auto& benches = *new std::map<std::string, void (*)()>;
  return benches;
}

double SecondsOf(const std::function<void()>& function) {
  const auto begin = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

std::vector<double> TimeInterleaved(int rounds, const std::vector<std::function<void()>>& functions) {
  std::vector<double> best(functions.size(), 1e30);
  for (int round = -1; round < rounds; ++round) {
    for (size_t i = 0; i < functions.size(); ++i) {
      const double seconds = SecondsOf(functions[i]);
      if (round >= 0 && seconds < best[i]) best[i] = seconds;
    }
  }
  return best;
}

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

bool RegisterBench(const std::string& op, void (*run)()) { return Benches().emplace(op, run).second; }

namespace {

int RunBenches(int argc, char** argv) {
  std::vector<std::string> ops;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--json") == 0) {
      json = true;
    } else if (Benches().count(argv[i]) != 0) {
      ops.push_back(argv[i]);
    } else {
      std::fprintf(stderr, "kernel_bench: no benchmark '%s'; there are:", argv[i]);
      for (const auto& [op, run] : Benches()) std::fprintf(stderr, " %s", op.c_str());
      std::fprintf(stderr, "\n");
      return 2;
    }
  }
  if (ops.empty()) {
    for (const auto& [op, run] : Benches()) ops.push_back(op);
  }
  if (!json) std::printf("instruction set %s\n", Name(ActiveInstructionSet()).data());
  for (const std::string& op : ops) Benches()[op]();
  return 0;
}

}  // namespace
}  // namespace retort

int main(int argc, char** argv) {
  retort::PrepareNumericProcess();
  at::set_num_threads(2);
  return retort::RunBenches(argc, argv);
}
