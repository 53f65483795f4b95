// PROGRAM [--json] [NAME ...]: runs the benchmarks linked to it, on two threads, or those named. Each is
// registered in NAME_bench.cc.
#include "tests/bench/bench.h"

#include <ATen/Parallel.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>

#include "core/base/process.h"
#include "kernels/base/instruction_set.h"
#include "model/ops/vector_math.h"

namespace retort {
namespace {

std::map<std::string, void (*)()>& Benches() {
  static auto& benches = *new std::map<std::string, void (*)()>;
  return benches;
}

std::map<std::string, ChildRun>& Children() {
  static auto& children = *new std::map<std::string, ChildRun>;
  return children;
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

bool RegisterBench(const std::string& name, void (*run)()) { return Benches().emplace(name, run).second; }

bool RegisterChild(const std::string& name, ChildRun run) {
  return Children().emplace(name, std::move(run)).second;
}

std::vector<double> RunInChild(const std::string& name, const std::string& environment) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe");
  const std::string command = environment + " '" + program + "' --child '" + name + "'";
  FILE* const output = popen(command.c_str(), "r");
  std::vector<double> numbers;
  for (double number; output != nullptr && std::fscanf(output, "%lf", &number) == 1;) {
    numbers.push_back(number);
  }
  if (output == nullptr || pclose(output) != 0 || numbers.empty()) {
    std::fprintf(stderr, "%s: this failed: %s\n", program.c_str(), command.c_str());
    std::exit(1);
  }
  return numbers;
}

namespace {

int RunChild(const std::string& name) {
  for (const double number : Children().at(name)()) std::printf("%.17g\n", number);
  return 0;
}

int RunBenches(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "--child") == 0) return RunChild(argv[2]);
  std::vector<std::string> names;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--json") == 0) {
      ReportAsJson();
    } else if (Benches().count(argv[i]) != 0) {
      names.push_back(argv[i]);
    } else {
      std::fprintf(stderr, "%s: no benchmark '%s'; there are:", argv[0], argv[i]);
      for (const auto& [name, run] : Benches()) std::fprintf(stderr, " %s", name.c_str());
      std::fprintf(stderr, "\n");
      return 2;
    }
  }
  if (names.empty()) {
    for (const auto& [name, run] : Benches()) names.push_back(name);
  }
  if (!ReportsAsJson()) std::printf("instruction set %s\n", Name(ActiveInstructionSet()).data());
  for (const std::string& name : names) Benches()[name]();
  return 0;
}

}  // namespace
}  // namespace retort

int main(int argc, char** argv) {
  retort::PrepareNumericProcess();
  retort::ChooseVectorMath();
  at::set_num_threads(2);
  return retort::RunBenches(argc, argv);
}
