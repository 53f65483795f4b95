// retort-worker: leases work from an orchestrator and trains, until it is told to stop.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/clock.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"
#include "core/base/process.h"
#include "core/base/standard_streams.h"
#include "core/base/version.h"
#include "worker/agent/agent_process.h"
#include "worker/run/numerics_id.h"
#include "worker/run/this_machine.h"
#include "worker/run/torch_workshop.h"

namespace retort {
namespace {

constexpr char kName[] = "retort-worker";

std::string DefaultOrchestrator() {
  const char* address = std::getenv("RETORT_ORCHESTRATOR");
  return address == nullptr ? "localhost:7077" : address;
}

struct Command {
  std::string orchestrator = DefaultOrchestrator();
  std::string name;
  uint64_t memory_bytes = MachineMemoryBytes();
  int grace_seconds = 25;
  std::vector<std::filesystem::path> roots;
  int threads = 0;  // 0: all cores
};

std::optional<int> Parse(const std::vector<std::string>& args, Command& command) {
  std::vector<std::string> roots;
  CLI::App app;
  DescribeCommand(app, kName, "Trains the layers that an orchestrator gives it, until it is told to stop.",
                  {"retort-worker --orchestrator 10.0.0.1:7077 --name rack2-7 --root /data"});
  app.set_version_flag("--version", "retort " + std::string(Version()), "Print the version and exit");
  app.add_option("--orchestrator", command.orchestrator,
                 "Where the orchestrator serves (default: $RETORT_ORCHESTRATOR, else localhost:7077)")
      ->type_name("HOST:PORT");
  app.add_option("--name", command.name, "This worker's name, unique in the cluster")->required();
  app.add_option("--memory", command.memory_bytes, "What a slice may take (default: all of this machine's)")
      ->type_name("BYTES")
      ->check(CLI::PositiveNumber);
  app.add_option("--grace", command.grace_seconds,
                 "After SIGTERM save and leave within this time (default: 25)")
      ->type_name("SECONDS")
      ->check(CLI::Range(1, 86'400));
  app.add_option("--root", roots, "Look for the files of jobs here; repeatable")
      ->type_name("DIR")
      ->check(CLI::ExistingDirectory)
      ->allow_extra_args(false);
  app.add_option("--threads", command.threads, "Compute threads (default: all cores)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr);
  command.roots.assign(roots.begin(), roots.end());
  return exit_code;
}

int Work(const Command& command) {
  const std::atomic<bool>& stop = InstallInterruptHandler();
  SetComputeThreads(command.threads > 0 ? command.threads
                                        : static_cast<int>(std::thread::hardware_concurrency()));
  LogBuffer shipped;
  Log log(v1::LOG_LEVEL_INFO, UnixMilliseconds, {StreamSink(std::cerr), shipped.Sink()});
  TorchWorkshop workshop({.roots = command.roots, .memory_bytes = command.memory_bytes}, log);
  AgentOptions options;
  options.address = command.orchestrator;
  options.name = command.name;
  options.build_version = absl::StrCat(std::string(Version()), "+", NumericsId());
  options.capabilities = MeasureCapabilities(command.memory_bytes);
  options.grace_ms = int64_t{1000} * command.grace_seconds;
  const absl::Status end = RunAgent(options, workshop, log, shipped, stop);
  return end.ok() ? kExitOk : ReportError(kName, end, std::cerr);
}

int Main(const std::vector<std::string>& args) {
  Command command;
  if (const std::optional<int> exit_code = Parse(args, command)) return *exit_code;
  return Work(command);
}

}  // namespace
}  // namespace retort

int main(int argc, char** argv) {
  retort::OccupyClosedStandardStreams();
  retort::EnsureWaitingOfThreads(argv);
  retort::PrepareNumericProcess();
  const int exit_code = retort::Main(retort::Arguments(argc, argv));
  return retort::FinishOutput(retort::kName, exit_code, std::cout, std::cerr);
}
