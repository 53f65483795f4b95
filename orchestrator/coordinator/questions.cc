// What a Coordinator answers without changing anything.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "orchestrator/coordinator/coordinator.h"
#include "orchestrator/coordinator/request_rules.h"
#include "orchestrator/state/callers.h"
#include "orchestrator/state/run_control.h"
#include "orchestrator/state/run_plan.h"
#include "orchestrator/state/run_status.h"

namespace retort::orchestrator {
namespace {

constexpr size_t kShownAttempts = 1000;  // of a GetReply

absl::StatusOr<const Run*> FindRunOf(const State& state, const v1::RunRef& ref) {
  ASSIGN_OR_RETURN(const uint64_t run_id, ResolveRun(state, ref));
  return &state.run(run_id);
}

}  // namespace

absl::StatusOr<std::string> Coordinator::NameOfWorker(uint64_t worker_id, uint64_t epoch) const {
  MutexLock lock(state_mutex_);
  RETURN_IF_ERROR(failure_);
  RETURN_IF_ERROR(CheckCaller(state_, worker_id, epoch));
  return state_.FindWorker(worker_id)->name();
}

absl::StatusOr<v1::PlanReply> Coordinator::Plan(const v1::PlanRequest& request) const {
  RETURN_IF_ERROR(failure());
  // On a copy: planning a large cluster takes long.
  const State copy = state();
  const Moment now = now_();
  return MakePlan(now, copy, options_, request);
}

absl::StatusOr<v1::GetReply> Coordinator::Get(const v1::GetRequest& request) const {
  v1::GetReply reply;
  {
    MutexLock lock(state_mutex_);
    RETURN_IF_ERROR(failure_);
    ASSIGN_OR_RETURN(const Run* run, FindRunOf(state_, request.run()));
    const Moment now = now_();
    *reply.mutable_run() = StatusOf(now, state_, options_, *run);
    *reply.mutable_job() = run->record.job();
  }
  ASSIGN_OR_RETURN(const std::vector<v1::AttemptRecord> attempts,
                   store_.List(AttemptsOf(reply.run().summary().run_id())));
  const size_t first = attempts.size() - std::min(attempts.size(), kShownAttempts);
  for (size_t i = first; i < attempts.size(); ++i) *reply.add_attempts() = ShowAttempt(attempts[i]);
  return reply;
}

absl::StatusOr<v1::ListReply> Coordinator::List(const v1::ListRequest& request) const {
  RETURN_IF_ERROR(CheckRequest(request));
  MutexLock lock(state_mutex_);
  RETURN_IF_ERROR(failure_);
  const Moment now = now_();
  return ListRuns(now, state_, options_, request);
}

absl::StatusOr<v1::ListWorkersReply> Coordinator::ListWorkers() const {
  MutexLock lock(state_mutex_);
  RETURN_IF_ERROR(failure_);
  const Moment now = now_();
  return orchestrator::ListWorkers(now, state_, options_);
}

absl::StatusOr<std::unique_ptr<ResultReader>> Coordinator::Download(const v1::DownloadRequest& request) {
  ManifestKey key = {.stage = v1::STAGE_END_TO_END};
  {
    MutexLock lock(state_mutex_);
    RETURN_IF_ERROR(failure_);
    ASSIGN_OR_RETURN(const Run* run, FindRunOf(state_, request.run()));
    if (run->record.state() != v1::RUN_STATE_SUCCEEDED) {
      return absl::FailedPreconditionError(
          absl::StrCat(NameOf(run->record), " is ",
                       v1::RunState_Name(run->record.state()).substr(sizeof("RUN_STATE_") - 1),
                       ": only a run that SUCCEEDED has a result"));
    }
    key.run_id = run->record.run_id();
    key.publish = run->record.result_publish();
  }
  ASSIGN_OR_RETURN(std::unique_ptr<CheckpointReader> checkpoint, CheckpointReader::Open(store_, key));
  return ResultReader::Open(std::move(checkpoint), request.file(), request.offset_bytes());
}

absl::StatusOr<uint64_t> Coordinator::ResolveRun(const v1::RunRef& run) const {
  MutexLock lock(state_mutex_);
  RETURN_IF_ERROR(failure_);
  return orchestrator::ResolveRun(state_, run);
}

absl::StatusOr<v1::RunStatus> Coordinator::StatusOfRun(uint64_t run_id) const {
  MutexLock lock(state_mutex_);
  RETURN_IF_ERROR(failure_);
  ASSIGN_OR_RETURN(const Run* run, FindRun(run_id));
  const Moment now = now_();
  return StatusOf(now, state_, options_, *run);
}

absl::StatusOr<WatchStep> Coordinator::Watch(uint64_t run_id, uint64_t after_sequence,
                                             size_t max_events) const {
  WatchStep step;
  std::vector<uint64_t> sequences;
  {
    MutexLock lock(state_mutex_);
    RETURN_IF_ERROR(failure_);
    RETURN_IF_ERROR(FindRun(run_id).status());
    if (after_sequence > last_event_) {
      return absl::OutOfRangeError(absl::StrCat("event ", after_sequence,
                                                " is in the future, the last one is ", last_event_,
                                                ": another store; begin with 0"));
    }
    const auto events = events_of_run_.find(run_id);
    if (events != events_of_run_.end()) {
      const auto first = std::upper_bound(events->second.begin(), events->second.end(), after_sequence);
      sequences.assign(first, events->second.end());
    }
    step.is_last = sequences.size() <= max_events && IsOverNow(run_id);
    sequences.resize(std::min(sequences.size(), max_events));
  }
  for (const uint64_t sequence : sequences) {
    ASSIGN_OR_RETURN(const v1::EventRecord event, store_.Get(EventKey{sequence}));
    step.events.push_back(ShowEvent(event));
  }
  return step;
}

absl::StatusOr<const Run*> Coordinator::FindRun(uint64_t run_id) const {
  v1::RunRef ref;
  ref.set_id(run_id);
  return FindRunOf(state_, ref);
}

bool Coordinator::IsOverNow(uint64_t run_id) const {
  const auto holds = [run_id](const auto& entry) { return entry.second.record.run_id() == run_id; };
  return IsEnded(state_.run(run_id).record.state()) &&
         std::none_of(state_.leases.begin(), state_.leases.end(), holds);
}

absl::StatusOr<bool> Coordinator::IsOver(uint64_t run_id) const {
  MutexLock lock(state_mutex_);
  RETURN_IF_ERROR(failure_);
  RETURN_IF_ERROR(FindRun(run_id).status());
  return IsOverNow(run_id);
}

}  // namespace retort::orchestrator
