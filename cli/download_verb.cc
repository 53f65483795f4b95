#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "cli/client/download_run.h"
#include "cli/report/report_page.h"
#include "cli/service_flags.h"
#include "cli/show/words.h"
#include "cli/verbs.h"
#include "core/base/clock.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/file_error.h"
#include "core/base/files.h"
#include "core/base/interrupt.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

constexpr char kName[] = "retort download";

struct DownloadCommand {
  std::string run;
  std::filesystem::path out_dir;
  ServiceFlags flags;
};

// Counts in MiB on the error stream.
class MebibyteProgress {
 public:
  MebibyteProgress() : progress_(std::cerr, ProgressOptionsForStderr(), MonotonicSeconds) {}

  void Show(const DownloadProgress& at) {
    if (at.done_bytes >= at.total_bytes && !started_) return;
    if (!started_)
      progress_.StartPhase("download, MiB", Mebibytes(at.done_bytes), Mebibytes(at.total_bytes), "");
    started_ = true;
    progress_.Step({.step = Mebibytes(at.done_bytes)});
  }

  void End() { progress_.EndPhase(); }

 private:
  static int64_t Mebibytes(uint64_t bytes) { return static_cast<int64_t>((bytes + (1 << 20) - 1) >> 20); }

  Progress progress_;
  bool started_ = false;
};

absl::StatusOr<std::filesystem::path> ChooseDirectory(Orchestrator& orchestrator,
                                                      const DownloadCommand& command) {
  if (!command.out_dir.empty()) return command.out_dir;
  v1::GetRequest request;
  *request.mutable_run() = ParseRunRef(command.run);
  ASSIGN_OR_RETURN(const v1::GetReply reply, orchestrator.Call(&v1::RunService::Stub::Get, request));
  return std::filesystem::path("runs") / reply.run().summary().name();
}

absl::Status Download(const DownloadCommand& command) {
  ASSIGN_OR_RETURN(Orchestrator orchestrator, Connect(command.flags));
  ASSIGN_OR_RETURN(const std::filesystem::path out_dir, ChooseDirectory(orchestrator, command));
  std::error_code error;
  std::filesystem::create_directories(out_dir, error);
  if (error) return FileError(error.value(), "cannot create directory", out_dir);
  ASSIGN_OR_RETURN(const DirectoryLock lock, DirectoryLock::Acquire(out_dir));
  const std::atomic<bool>& stop = InstallInterruptHandler();
  MebibyteProgress progress;
  ASSIGN_OR_RETURN(const v1::FileList files,
                   DownloadRun(orchestrator, {.run = ParseRunRef(command.run),
                                              .out_dir = out_dir,
                                              .patience_seconds = command.flags.patience_seconds(),
                                              .on_progress = [&](const DownloadProgress& at) {
                                                progress.Show(at);
                                                return !stop;
                                              }}));
  progress.End();
  NoteReport(kName, out_dir, std::cerr);
  PrintReply(
      command.flags, files,
      absl::StrCat("run ", command.run, " is in ", out_dir.string(), ", ", files.files_size(), " files\n"));
  return absl::OkStatus();
}

}  // namespace

int DownloadVerb(const std::vector<std::string>& args) {
  DownloadCommand command;
  CLI::App app;
  DescribeCommand(
      app, kName,
      "Fetches the student and the measurements of a run that has succeeded, and makes its report. What was\n"
      "cut off goes on with the same command.",
      {"retort download smollm2-hybrid", "retort download 17 --out models/student"});
  app.add_option("RUN", command.run, "Its name or its id; a name means the newest run of that name")
      ->required();
  app.add_option("--out", command.out_dir, "Where the files go (default: runs/NAME)")->type_name("DIR");
  AddServiceFlags(app, command.flags, OutputChoice::kJsonYaml);
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) return *exit_code;
  const absl::Status status = Download(command);
  if (status.ok()) return kExitOk;
  if (absl::IsCancelled(status)) return ReportRunEnd(kName, status, kExitNotFinished, command.flags);
  return ReportServiceError(kName, status, command.flags);
}

}  // namespace retort
