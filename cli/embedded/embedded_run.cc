#include "cli/embedded/embedded_run.h"

#include <algorithm>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/client/download_run.h"
#include "cli/client/follow_run.h"
#include "cli/embedded/log_tail.h"
#include "cli/embedded/run_directory.h"
#include "cli/embedded/run_progress.h"
#include "cli/embedded/services.h"
#include "cli/embedded/stuck.h"
#include "cli/show/event_text.h"
#include "core/base/clock.h"
#include "core/base/counted.h"
#include "core/base/file_error.h"
#include "core/base/files.h"
#include "core/base/machine_memory.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

namespace fs = std::filesystem;

constexpr double kNeverSeconds = 1e9;  // the supervisor has limits of its own
constexpr double kAskWorkersEverySeconds = 1;
constexpr double kStuckSeconds = 5;
constexpr double kCallSeconds = 10;

// What of a run's events a person wants to see beside its progress.
bool IsNoteworthy(const v1::Event& event) {
  switch (event.kind()) {
    case v1::EVENT_KIND_RUN_PREPARED:
    case v1::EVENT_KIND_WORKER_LOST:
    case v1::EVENT_KIND_TASK_RETRIED:
    case v1::EVENT_KIND_TASK_FAILED:
    case v1::EVENT_KIND_STALE_WRITE_REFUSED:
      return true;
    case v1::EVENT_KIND_LEASE_GRANTED:
    case v1::EVENT_KIND_NUMERICS_RESOLVED:  // of this stage: how many ranks it has, and why
      return event.stage() == v1::STAGE_END_TO_END;
    default:
      return false;
  }
}

class EmbeddedRun {
 public:
  EmbeddedRun(const EmbeddedRunOptions& options, Progress& progress, const std::atomic<bool>& stop)
      : options_(options),
        progress_(progress),
        stop_(stop),
        shown_(progress, options.job),
        services_({.bin_dir = options.bin_dir, .state_dir = state_dir(), .roots = options.roots},
                  [&progress](const std::string& note) { progress.Note(note); }) {}

  absl::StatusOr<RunEnd> Run() {
    const absl::StatusOr<v1::RunStatus> ended = Train();
    shown_.End();
    const bool stopped = stop_ && !ended.ok();
    if (!ended.ok() && !stopped) {
      services_.StopWorkers();
      services_.StopOrchestrator();
      return ended.status();
    }
    if (stopped) return EndInterrupted();
    absl::StatusOr<RunEnd> end = ended->summary().state() == v1::RUN_STATE_SUCCEEDED
                                     ? Fetch(ended->summary().run_id())
                                     : Unsuccessful(*ended);
    services_.StopWorkers();
    services_.StopOrchestrator();
    if (end.ok() && *end == RunEnd::kCompleted) {
      std::error_code ignored;  // costs space only: result.json ends the run
      fs::remove_all(state_dir(), ignored);
    }
    return end;
  }

 private:
  fs::path state_dir() const { return options_.out_dir / "service"; }

  template <class Request, class Reply>
  absl::StatusOr<Reply> Call(grpc::Status (v1::RunService::Stub::*method)(grpc::ClientContext*,
                                                                          const Request&, Reply*),
                             Request request) {
    if constexpr (requires { request.set_request_id(""); }) request.set_request_id(DrawRequestId());
    return orchestrator_->Call(method, request);
  }

  // Until the run has ended in whichever way, or `stop`, or something is wrong.
  absl::StatusOr<v1::RunStatus> Train() {
    ASSIGN_OR_RETURN(const std::string address, services_.StartOrchestrator([this] { return !stop_; }));
    ASSIGN_OR_RETURN(Orchestrator orchestrator, Orchestrator::Connect(address, kAnswerSeconds));
    orchestrator_.emplace(std::move(orchestrator));
    int threads = options_.threads;
    ASSIGN_OR_RETURN(const uint64_t run_id, FindOrSubmit(threads));
    const CoreShares shares = ShareMachine(options_.workers, threads);
    RETURN_IF_ERROR(services_.StartWorkers(shares.workers, shares.threads, shares.memory_bytes));
    return Follow(run_id);
  }

  // The run of this directory, ready to be granted; sets `threads` to those that it began with.
  absl::StatusOr<uint64_t> FindOrSubmit(int& threads) {
    ASSIGN_OR_RETURN(const v1::ListReply runs, Call(&v1::RunService::Stub::List, v1::ListRequest()));
    if (runs.runs().empty() || runs.runs(0).state() == v1::RUN_STATE_CANCELLED) return Submit();
    v1::GetRequest get;
    get.mutable_run()->set_id(runs.runs(0).run_id());
    ASSIGN_OR_RETURN(const v1::GetReply run, Call(&v1::RunService::Stub::Get, get));
    const std::vector<std::string> differences = DifferencesFromRun(run, options_.job, threads);
    const v1::RunState state = run.run().summary().state();
    if (!differences.empty()) {
      if (HasSavedSteps(run.run()) || state == v1::RUN_STATE_SUCCEEDED) {
        return RefuseDifferences(options_.out_dir, differences);
      }
      return Replace(get.run());
    }
    if (run.run().has_numerics()) threads = static_cast<int>(run.run().numerics().threads());
    if (HasSavedSteps(run.run())) {
      progress_.Note(absl::StrCat("going on with the run in ", state_dir().string()));
    }
    if (state == v1::RUN_STATE_FAILED) {
      v1::RetryRequest retry;
      *retry.mutable_run() = get.run();
      RETURN_IF_ERROR(Call(&v1::RunService::Stub::Retry, retry).status());
    } else if (state == v1::RUN_STATE_PAUSED || state == v1::RUN_STATE_PAUSING) {
      v1::ResumeRequest resume;
      *resume.mutable_run() = get.run();
      RETURN_IF_ERROR(Call(&v1::RunService::Stub::Resume, resume).status());
    }
    return get.run().id();
  }

  // Nothing of the run is saved, so another job may take its place.
  absl::StatusOr<uint64_t> Replace(const v1::RunRef& run) {
    v1::CancelRequest cancel;
    *cancel.mutable_run() = run;
    RETURN_IF_ERROR(Call(&v1::RunService::Stub::Cancel, cancel).status());
    return Submit();
  }

  absl::StatusOr<uint64_t> Submit() {
    v1::SubmitRequest submit;
    *submit.mutable_job() = options_.job;
    ASSIGN_OR_RETURN(const v1::SubmitReply reply, Call(&v1::RunService::Stub::Submit, submit));
    return reply.run_id();
  }

  absl::StatusOr<v1::RunStatus> Follow(uint64_t run_id) {
    FollowOptions follow = {.first_patience_seconds = kNeverSeconds, .patience_seconds = kNeverSeconds};
    follow.run.set_id(run_id);
    LogTail tail(*orchestrator_, run_id, start_unix_ms_);
    absl::Status failure;
    const absl::StatusOr<v1::RunStatus> ended =
        FollowRun(*orchestrator_, follow, [&](const v1::WatchReply* part) {
          if (part != nullptr) Take(*part);
          tail.Poll([this](const std::string& line) { progress_.Note(line); });
          failure = LookAfter();
          return failure.ok() && !stop_;
        });
    return failure.ok() ? ended : failure;
  }

  void Take(const v1::WatchReply& part) {
    if (part.has_snapshot()) {
      last_ = part.snapshot();
      shown_.Show(last_);
      return;
    }
    const v1::Event& event = part.event();
    if (event.time_unix_ms() < start_unix_ms_) return;  // replayed; what it says may be mended
    if (event.cause() == v1::END_CAUSE_WRONG_INPUT && !event.text().empty()) refusal_ = event.text();
    if (IsNoteworthy(event)) progress_.Note(EventText(event));
  }

  // The children, and whether the run can go on at all.
  absl::Status LookAfter() {
    RETURN_IF_ERROR(services_.Tick());
    const double now = MonotonicSeconds();
    if (now - asked_seconds_ < kAskWorkersEverySeconds || last_.summary().workers() > 0)
      return absl::OkStatus();
    asked_seconds_ = now;
    const absl::StatusOr<v1::ListWorkersReply> workers =
        retort::Call(orchestrator_->stub(), &v1::RunService::Stub::ListWorkers, v1::ListWorkersRequest(),
                     std::chrono::seconds(1));
    if (!workers.ok() || !IsStuck(last_, *workers, services_.worker_count(), UnixMilliseconds())) {
      stuck_since_seconds_ = now;
    } else if (now - stuck_since_seconds_ >= kStuckSeconds) {
      return StuckError(last_, *workers, refusal_);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<RunEnd> EndInterrupted() {
    services_.StopWorkers();
    bool saved = HasSavedSteps(last_);
    if (orchestrator_ && last_.has_summary()) {
      v1::GetRequest get;
      get.mutable_run()->set_id(last_.summary().run_id());
      const absl::StatusOr<v1::GetReply> run = retort::Call(orchestrator_->stub(), &v1::RunService::Stub::Get,
                                                            get, std::chrono::seconds(int(kCallSeconds)));
      if (run.ok()) saved = HasSavedSteps(run->run());
    }
    services_.StopOrchestrator();
    return saved ? RunEnd::kInterrupted : RunEnd::kInterruptedUnsaved;
  }

  absl::StatusOr<RunEnd> Fetch(uint64_t run_id) {
    absl::Status failure;
    DownloadOptions download = {.out_dir = options_.out_dir,
                                .patience_seconds = kNeverSeconds,
                                .on_progress = [&](const DownloadProgress&) {
                                  failure = services_.Tick();
                                  return failure.ok() && !stop_;
                                }};
    download.run.set_id(run_id);
    const absl::StatusOr<v1::FileList> files = DownloadRun(*orchestrator_, download);
    RETURN_IF_ERROR(failure);
    if (!files.ok() && stop_) return RunEnd::kInterrupted;
    if (!files.ok()) return files.status();
    return RunEnd::kCompleted;
  }

  static absl::StatusOr<RunEnd> Unsuccessful(const v1::RunStatus& run) {
    if (run.summary().state() == v1::RUN_STATE_FAILED) return RunFailure(run);
    return absl::CancelledError(absl::StrCat("run ", run.summary().name(),
                                             " was cancelled; the same command "
                                             "begins it anew"));
  }

  const EmbeddedRunOptions& options_;
  Progress& progress_;
  const std::atomic<bool>& stop_;
  RunProgress shown_;
  Services services_;
  std::optional<Orchestrator> orchestrator_;
  v1::RunStatus last_;
  std::string refusal_;  // what a worker of this start last said of the inputs
  const int64_t start_unix_ms_ = UnixMilliseconds();
  double asked_seconds_ = 0;
  double stuck_since_seconds_ = MonotonicSeconds();
};

}  // namespace

CoreShares ShareCores(int cores, uint64_t memory_bytes, int asked_workers, int asked_threads) {
  const int workers = asked_workers > 0 ? asked_workers : (cores >= 2 ? 2 : 1);
  return {workers, asked_threads > 0 ? asked_threads : std::max(cores / workers, 1),
          memory_bytes / static_cast<uint64_t>(workers)};
}

CoreShares ShareMachine(int asked_workers, int asked_threads) {
  return ShareCores(static_cast<int>(std::thread::hardware_concurrency()), MachineMemoryBytes(),
                    asked_workers, asked_threads);
}

absl::Status CheckRanksHaveWorkers(const v1::JobSpec& job, int workers) {
  const uint32_t ranks = job.stages().end_to_end().world_size();
  if (ranks <= static_cast<uint32_t>(workers)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("stages.end_to_end.world_size is ", ranks, ", but ", Counted(workers, "worker"),
                   " would be started; give --workers ", ranks, ", or world_size: auto"));
}

absl::Status RunFailure(const v1::RunStatus& run) {
  std::string text = absl::StrCat("run ", run.summary().name(), " has failed: ", run.summary().reason());
  for (const v1::TaskStatus& task : run.tasks()) {
    const bool is_new = !task.message().empty() && !absl::StrContains(text, task.message());
    if (task.state() == v1::TASK_STATE_FAILED && is_new) absl::StrAppend(&text, "; ", task.message());
  }
  return absl::InternalError(text);
}

absl::StatusOr<RunEnd> RunEmbedded(const EmbeddedRunOptions& options, Progress& progress,
                                   const std::atomic<bool>& stop) {
  RETURN_IF_ERROR(CheckRanksHaveWorkers(options.job, ShareMachine(options.workers, options.threads).workers));
  std::error_code error;
  fs::create_directories(options.out_dir, error);
  if (error) return FileError(error.value(), "cannot create directory", options.out_dir);
  ASSIGN_OR_RETURN(const DirectoryLock lock, DirectoryLock::Acquire(options.out_dir));
  ASSIGN_OR_RETURN(const nlohmann::json result, ReadResult(options.out_dir));
  const fs::path state_dir = options.out_dir / "service";
  if (!result.is_null()) {
    RETURN_IF_ERROR(
        RefuseDifferences(options.out_dir, DifferencesFromResult(result, options.job, options.threads)));
    progress.Note(absl::StrCat(options.out_dir.string(), " holds this run's result already; nothing to do"));
    fs::remove_all(state_dir, error);
    return RunEnd::kCompleted;
  }
  fs::create_directories(state_dir, error);
  if (error) return FileError(error.value(), "cannot create directory", state_dir);
  return EmbeddedRun(options, progress, stop).Run();
}

}  // namespace retort
