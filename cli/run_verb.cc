#include <CLI/CLI.hpp>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "cli/plan.h"
#include "cli/sibling.h"
#include "cli/verbs.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/config/job_file.h"

namespace retort {
namespace {

constexpr char kName[] = "retort run";

struct RunCommand {
  std::string job_file;
  std::vector<std::string> roots;
  std::string out_dir;  // empty: the worker's default
  int threads = 0;      // 0: the worker's default
  bool check = false;
};

std::optional<int> Parse(const std::vector<std::string>& args, RunCommand& command) {
  CLI::App app;
  DescribeCommand(
      app, kName,
      "Distils a teacher into a student in one process on this machine. Ctrl-C saves, and the same command\n"
      "goes on from there.",
      {"retort run configs/quickstart.yaml", "retort run job.yaml --out runs/second --threads 4",
       "retort run job.yaml --check"});
  app.add_option("JOB.yaml", command.job_file, "The job file")->required();
  app.add_option("--root", command.roots,
                 "Look for the job's files here too, after its own directory; repeatable")
      ->type_name("DIR")
      ->allow_extra_args(false);
  app.add_option("--out", command.out_dir, "Where student, metrics and checkpoints go (default: runs/NAME)")
      ->type_name("DIR");
  app.add_option("--threads", command.threads, "Compute threads (default: all cores)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--check", command.check, "Check the job, print what would run, and stop");
  return ParseCommand(app, args, std::cout, std::cerr);
}

std::vector<std::string> WorkerArguments(const RunCommand& command) {
  std::vector<std::string> args = {"--local", command.job_file};
  for (const std::string& root : command.roots) {
    args.insert(args.end(), {"--root", root});
  }
  if (!command.out_dir.empty()) {
    args.insert(args.end(), {"--out", command.out_dir});
  }
  if (command.threads > 0) {
    args.insert(args.end(), {"--threads", absl::StrCat(command.threads)});
  }
  return args;
}

}  // namespace

int RunVerb(const std::vector<std::string>& args) {
  RunCommand command;
  if (const std::optional<int> exit_code = Parse(args, command)) {
    return *exit_code;
  }
  // The worker reads the job again; reading it here too reports mistakes before LibTorch is loaded.
  const absl::StatusOr<v1::JobSpec> job = LoadJob(
      command.job_file, std::vector<std::filesystem::path>(command.roots.begin(), command.roots.end()));
  if (!job.ok()) {
    return ReportError(kName, job.status(), std::cerr);
  }
  if (command.check) {
    std::cout << "job " << job->name() << " is valid\n\n" << RenderPlan(*job);
    return kExitOk;
  }
  return ReportError(kName, BecomeSibling("retort-worker", WorkerArguments(command)), std::cerr);
}

}  // namespace retort
