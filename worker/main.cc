// retort-worker: leases work from an orchestrator and trains. With --local one process runs a whole job on
// this machine; `retort run` executes that.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/base/clock.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/files.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"
#include "core/base/process.h"
#include "core/base/progress.h"
#include "core/base/standard_streams.h"
#include "core/base/status_macros.h"
#include "core/base/version.h"
#include "core/config/job_file.h"
#include "worker/agent/agent_process.h"
#include "worker/run/local_run.h"
#include "worker/run/numerics_id.h"
#include "worker/run/result_json.h"
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
  std::filesystem::path job_file;  // empty: works for an orchestrator
  std::string orchestrator = DefaultOrchestrator();
  std::string name;
  uint64_t memory_bytes = MachineMemoryBytes();
  int grace_seconds = 25;
  std::vector<std::filesystem::path> roots;
  std::filesystem::path out_dir;  // empty: runs/<the job's name>
  int threads = 0;                // 0: all cores
};

std::optional<int> Parse(const std::vector<std::string>& args, Command& command) {
  std::vector<std::string> roots;
  CLI::App app;
  DescribeCommand(app, kName, "Trains the layers that an orchestrator gives it, until it is told to stop.",
                  {"retort-worker --orchestrator 10.0.0.1:7077 --name gpu-3 --root /data",
                   "retort-worker --local job.yaml --out runs/second --threads 4"});
  app.set_version_flag("--version", "retort " + std::string(Version()), "Print the version and exit");
  app.add_option("--orchestrator", command.orchestrator,
                 "Where the orchestrator serves (default: $RETORT_ORCHESTRATOR, else localhost:7077)")
      ->type_name("HOST:PORT");
  CLI::Option* name = app.add_option("--name", command.name, "This worker's name, unique in the cluster");
  app.add_option("--memory", command.memory_bytes, "What a slice may take (default: all of this machine's)")
      ->type_name("BYTES");
  app.add_option("--grace", command.grace_seconds,
                 "After SIGTERM save and leave within this time (default: 25)")
      ->type_name("SECONDS")
      ->check(CLI::Range(1, 86'400));
  CLI::Option* local = app.add_option("--local", command.job_file, "Run this whole job in one process");
  local->type_name("JOB.yaml")->excludes(name);
  app.add_option("--root", roots, "Look for the files of jobs here; repeatable")
      ->type_name("DIR")
      ->allow_extra_args(false);
  app.add_option("--out", command.out_dir, "With --local: where everything goes (default: runs/NAME)")
      ->type_name("DIR");
  app.add_option("--threads", command.threads, "Compute threads (default: all cores)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  app.callback([&] {
    if (local->count() + name->count() == 0) throw CLI::RequiredError("--name");
  });
  const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr);
  command.roots.assign(roots.begin(), roots.end());
  return exit_code;
}

absl::StatusOr<LocalRunOptions> Resolve(const Command& command) {
  ASSIGN_OR_RETURN(v1::JobSpec job, LoadJob(command.job_file, command.roots));
  LocalRunOptions options;
  options.out_dir = command.out_dir.empty() ? std::filesystem::path("runs") / job.name() : command.out_dir;
  options.threads = command.threads;
  options.roots = {std::filesystem::absolute(command.job_file).parent_path()};
  options.roots.insert(options.roots.end(), command.roots.begin(), command.roots.end());
  options.job = std::move(job);
  return options;
}

absl::StatusOr<RunEnd> RunWithProgress(const LocalRunOptions& options) {
  const std::atomic<bool>& stop = InstallInterruptHandler();
  Progress progress(std::cerr, ProgressOptionsForStderr(), MonotonicSeconds);
  return RunLocally(options, progress, stop);
}

int WorkForOrchestrator(const Command& command) {
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

int RunLocalJob(const Command& command) {
  const absl::StatusOr<LocalRunOptions> options = Resolve(command);
  if (!options.ok()) {
    return ReportError(kName, options.status(), std::cerr);
  }
  const absl::StatusOr<RunEnd> end = RunWithProgress(*options);
  if (!end.ok()) {
    ReportError(kName, end.status(), std::cerr);
    return RunExitCode(end.status());
  }
  if (*end != RunEnd::kCompleted) {
    std::cerr << kName << ": interrupted"
              << (*end == RunEnd::kInterrupted
                      ? "; saved in " + options->out_dir.string() + "; run the same command again to go on\n"
                      : " before anything was trained; run the same command again to start\n");
    return kExitNotFinished;
  }
  const absl::StatusOr<std::string> result = ReadFile(options->out_dir / "result.json");
  if (!result.ok()) {
    return ReportError(kName, result.status(), std::cerr);
  }
  std::cout << RenderResult(nlohmann::json::parse(*result));
  std::cout << "\nstudent: " << (options->out_dir / "student").string() << "\n";
  return kExitOk;
}

int Main(const std::vector<std::string>& args) {
  Command command;
  if (const std::optional<int> exit_code = Parse(args, command)) return *exit_code;
  return command.job_file.empty() ? WorkForOrchestrator(command) : RunLocalJob(command);
}

}  // namespace
}  // namespace retort

int main(int argc, char** argv) {
  retort::OccupyClosedStandardStreams();
  retort::PrepareNumericProcess();
  const int exit_code = retort::Main(retort::Arguments(argc, argv));
  return retort::FinishOutput(retort::kName, exit_code, std::cout, std::cerr);
}
