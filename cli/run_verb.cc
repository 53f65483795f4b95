#include <CLI/CLI.hpp>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "cli/embedded/embedded_run.h"
#include "cli/embedded/run_directory.h"
#include "cli/report/report_page.h"
#include "cli/show/result_table.h"
#include "cli/sibling.h"
#include "cli/verbs.h"
#include "core/base/clock.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/interrupt.h"
#include "core/base/process.h"
#include "core/base/status_macros.h"
#include "core/config/job_file.h"

namespace retort {
namespace {

namespace fs = std::filesystem;

constexpr char kName[] = "retort run";

struct RunCommand {
  std::string job_file;
  std::vector<std::string> roots;
  std::string out_dir;  // empty: runs/<the job's name>
  int threads = 0;      // 0: as the run began, or the cores shared out
  int workers = 0;      // 0: two where there are two cores
  bool check = false;
};

std::optional<int> Parse(const std::vector<std::string>& args, RunCommand& command) {
  CLI::App app;
  DescribeCommand(
      app, kName,
      "Distils a teacher into a student on this machine. Ctrl-C saves, and the same command goes on from\n"
      "there.",
      {"retort run configs/quickstart.yaml", "retort run job.yaml --out runs/second --workers 1",
       "retort run job.yaml --check"});
  app.add_option("JOB.yaml", command.job_file, "The job file")->required();
  app.add_option("--root", command.roots,
                 "Look for the job's files here too, after its own directory; repeatable")
      ->type_name("DIR")
      ->allow_extra_args(false);
  app.add_option("--out", command.out_dir, "Where student, metrics and checkpoints go (default: runs/NAME)")
      ->type_name("DIR");
  app.add_option("--workers", command.workers, "Worker processes (default: 2, on one core 1)")
      ->type_name("N")
      ->check(CLI::Range(1, 64));
  app.add_option("--threads", command.threads,
                 "Compute threads of each worker (default: its share of the cores)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--check", command.check, "Check the job, print its parameters, steps and memory, and stop");
  return ParseCommand(app, args, std::cout, std::cerr);
}

absl::StatusOr<EmbeddedRunOptions> Resolve(const RunCommand& command, const v1::JobSpec& job) {
  EmbeddedRunOptions options;
  options.job = job;
  options.roots = {fs::absolute(command.job_file).parent_path()};
  for (const std::string& root : command.roots) options.roots.push_back(fs::absolute(root));
  options.out_dir = command.out_dir.empty() ? fs::path("runs") / job.name() : fs::path(command.out_dir);
  ASSIGN_OR_RETURN(options.bin_dir, ProgramDirectory());
  options.workers = command.workers;
  options.threads = command.threads;
  return options;
}

absl::StatusOr<RunEnd> RunWithProgress(const EmbeddedRunOptions& options) {
  const std::atomic<bool>& stop = InstallInterruptHandler();
  SetWaitingOfThreads();
  Progress progress(std::cerr, ProgressOptionsForStderr(), MonotonicSeconds);
  return RunEmbedded(options, progress, stop);
}

absl::Status PrintResult(const fs::path& out_dir) {
  ASSIGN_OR_RETURN(const nlohmann::json result, ReadResult(out_dir));
  RETURN_IF_ERROR(CheckResult(result));
  std::cout << RenderResult(result) << "\nstudent: " << (out_dir / "student").string()
            << "\nreport:  " << (out_dir / "report.html").string() << "\n";
  return absl::OkStatus();
}

int Run(const RunCommand& command, const v1::JobSpec& job) {
  const absl::StatusOr<EmbeddedRunOptions> options = Resolve(command, job);
  if (!options.ok()) return ReportError(kName, options.status(), std::cerr);
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
  NoteReport(kName, options->out_dir, std::cerr);
  const absl::Status printed = PrintResult(options->out_dir);
  return printed.ok() ? kExitOk : ReportError(kName, printed, std::cerr);
}

}  // namespace

int RunVerb(const std::vector<std::string>& args) {
  RunCommand command;
  if (const std::optional<int> exit_code = Parse(args, command)) {
    return *exit_code;
  }
  const absl::StatusOr<v1::JobSpec> job =
      LoadJob(command.job_file, std::vector<fs::path>(command.roots.begin(), command.roots.end()));
  if (!job.ok()) {
    return ReportError(kName, job.status(), std::cerr);
  }
  if (command.check) {
    const CoreShares shares = ShareMachine(command.workers, command.threads);
    if (const absl::Status ranks = CheckRanksHaveWorkers(*job, shares.workers); !ranks.ok()) {
      return ReportError(kName, ranks, std::cerr);
    }
    std::vector<std::string> inspect = {"inspect",
                                        command.job_file,
                                        "--must-fit",
                                        "--as",
                                        kName,
                                        "--memory",
                                        absl::StrCat(shares.memory_bytes)};
    if (shares.workers > 1) inspect.insert(inspect.end(), {"--sharing", absl::StrCat(shares.workers)});
    for (const std::string& root : command.roots) inspect.insert(inspect.end(), {"--root", root});
    return ReportError(kName, BecomeSibling("retort-model", inspect), std::cerr);
  }
  return Run(command, *job);
}

}  // namespace retort
