// retort-worker: trains. With --local one process runs a whole job on this machine; `retort run` executes
// that.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/clock.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/files.h"
#include "core/base/interrupt.h"
#include "core/base/process.h"
#include "core/base/progress.h"
#include "core/base/standard_streams.h"
#include "core/base/status_macros.h"
#include "core/base/version.h"
#include "core/config/job_file.h"
#include "worker/run/local_run.h"
#include "worker/run/result_json.h"

namespace retort {
namespace {

constexpr char kName[] = "retort-worker";

struct Command {
  std::filesystem::path job_file;
  std::vector<std::filesystem::path> roots;
  std::filesystem::path out_dir;  // empty: runs/<the job's name>
  int threads = 0;                // 0: all cores
};

std::optional<int> Parse(const std::vector<std::string>& args, Command& command) {
  std::vector<std::string> roots;
  CLI::App app;
  DescribeCommand(
      app, kName, "Trains the student of a job. 'retort run' executes this program.",
      {"retort-worker --local job.yaml", "retort-worker --local job.yaml --out runs/second --threads 4"});
  app.set_version_flag("--version", "retort " + std::string(Version()), "Print the version and exit");
  app.add_option("--local", command.job_file, "Run this whole job in one process")
      ->type_name("JOB.yaml")
      ->required();
  app.add_option("--root", roots, "Look for the job's files here too, after its own directory; repeatable")
      ->type_name("DIR")
      ->allow_extra_args(false);
  app.add_option("--out", command.out_dir, "Where student, metrics and checkpoints go (default: runs/NAME)")
      ->type_name("DIR");
  app.add_option("--threads", command.threads, "Compute threads (default: all cores)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
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

int Main(const std::vector<std::string>& args) {
  Command command;
  if (const std::optional<int> exit_code = Parse(args, command)) {
    return *exit_code;
  }
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

}  // namespace
}  // namespace retort

int main(int argc, char** argv) {
  retort::OccupyClosedStandardStreams();
  retort::PrepareNumericProcess();
  const int exit_code = retort::Main(retort::Arguments(argc, argv));
  return retort::FinishOutput(retort::kName, exit_code, std::cout, std::cerr);
}
