#include "orchestrator/state/run_control.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/job_work.h"
#include "core/base/name.h"
#include "core/base/status_macros.h"
#include "orchestrator/state/callers.h"
#include "orchestrator/state/draft.h"
#include "orchestrator/state/run_lifecycle.h"

namespace retort::orchestrator {
namespace {

constexpr int kMaxPriority = 100;

// The newest run of the name; nullptr: there is none.
const Run* NewestNamed(const State& state, const std::string& name) {
  for (auto run = state.runs.rbegin(); run != state.runs.rend(); ++run) {
    if (run->second.record.job().name() == name) return &run->second;
  }
  return nullptr;
}

absl::Status CheckBudget(const char* stage, const v1::StageBudget& budget, const v1::JobSpec& job) {
  const uint64_t pass_tokens = uint64_t{job.micro_batch()} * job.data().seq_len();
  if (budget.tokens() > 0 && budget.tokens_per_step() > 0 && budget.tokens_per_step() % pass_tokens == 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "job.stages.", stage, ": ", budget.tokens(), " tokens in steps of ", budget.tokens_per_step(),
      "; a step must be a multiple of micro_batch * seq_len = ", pass_tokens));
}

bool HasInterval(const v1::CheckpointSpec& checkpoint) {
  return (checkpoint.every_steps() == 0) != (checkpoint.every_seconds() == 0);
}

bool AreWeights(const google::protobuf::RepeatedField<uint32_t>& weights, int files) {
  return weights.empty() ||
         (weights.size() == files && std::find(weights.begin(), weights.end(), 0u) == weights.end());
}

// What can be said without files; core/config says it better, to whoever writes the file.
absl::Status CheckJob(const v1::JobSpec& job) {
  if (!IsName(job.name())) {
    return absl::InvalidArgumentError(absl::StrCat("job.name '", job.name(), "' is not ", kNameRule));
  }
  if (job.teacher().path().empty() || job.data().train().empty() || job.data().eval().empty() ||
      job.data().seq_len() == 0 || job.micro_batch() == 0 || !HasInterval(job.checkpoint()) ||
      job.student().state_size() == 0 || StudentGroups(job.student(), /*query_heads=*/1) == 0 ||
      job.student().mixer() == v1::MIXER_KIND_UNSPECIFIED) {
    return absl::InvalidArgumentError(absl::StrCat(
        "job ", job.name(),
        " lacks teacher.path, student.mixer, state_size or groups, data.train, eval or seq_len, "
        "micro_batch or one checkpoint interval: send it as core/config makes it from a job file"));
  }
  bool fits = AreWeights(job.data().train_weights(), job.data().train_size());
  for (const v1::DataPhase& phase : job.data().phases()) {
    fits = fits && !phase.train().empty() && AreWeights(phase.train_weights(), phase.train_size());
  }
  if (!fits) {
    return absl::InvalidArgumentError(
        absl::StrCat("job ", job.name(),
                     ": data.train and each of data.phases need files, and no weights or one "
                     "above 0 for each"));
  }
  const v1::StagesSpec& stages = job.stages();
  const v1::KeepAttention& keep = job.student().keep_attention();
  const bool can_probe = keep.layers().empty() && keep.every() == 0 && keep.probe_steps() > 0 &&
                         (stages.has_matrix_orientation() || stages.has_hidden_state_alignment());
  if (keep.auto_layers() > 0 && !can_probe) {
    return absl::InvalidArgumentError(absl::StrCat(
        "job ", job.name(),
        ": student.keep_attention has auto_layers; that needs probe_steps and stage 1 or 2, and goes without "
        "layers and every: remove those, or auto_layers"));
  }
  if (stages.has_matrix_orientation()) {
    RETURN_IF_ERROR(CheckBudget("matrix_orientation", stages.matrix_orientation().budget(), job));
  }
  if (stages.has_hidden_state_alignment()) {
    RETURN_IF_ERROR(CheckBudget("hidden_state_alignment", stages.hidden_state_alignment().budget(), job));
  }
  if (stages.has_end_to_end()) {
    RETURN_IF_ERROR(CheckBudget("end_to_end", stages.end_to_end().budget(), job));
  }
  return absl::OkStatus();
}

// The frame of the calls that change one run: repetitions, the run, `change` (which edits the draft, sets the
// reply and says no by a status), and the record of the request.
template <class Reply, class Request, class Change>
Decision<Reply> ChangeRun(const Moment& now, const State& state, const Options& options, const char* method,
                          const Request& request, const Change& change) {
  Decision<Reply> decision;
  if (AnswerRepeated(state, method, request, decision)) return decision;
  const absl::StatusOr<uint64_t> run_id = ResolveRun(state, request.run());
  decision.status = run_id.status();
  if (!run_id.ok()) return decision;
  Draft draft(now, state, options);
  decision.status = change(draft, *run_id, decision.reply);
  if (!decision.status.ok()) return decision;
  KeepReply(draft, method, request, decision.reply);
  decision.changes = draft.Finish();
  decision.reason = absl::StrCat(method, " of ", NameOf(state.run(*run_id).record));
  return decision;
}

std::string StateText(v1::RunState state) {
  return v1::RunState_Name(state).substr(sizeof("RUN_STATE_") - 1);
}

absl::Status Refused(const v1::RunRecord& run, const std::string& why) {
  return absl::FailedPreconditionError(absl::StrCat(NameOf(run), " is ", StateText(run.state()), ": ", why));
}

void CancelNow(Draft& draft, uint64_t run_id) {
  ChangeRunState(draft, run_id, v1::RUN_STATE_CANCELLING, "a user cancelled it; the holders are stopping");
  for (const uint64_t token : draft.TokensOf(run_id)) draft.TouchLease(token).yield.reset();
  SettleRun(draft, run_id);
}

}  // namespace

absl::StatusOr<uint64_t> ResolveRun(const State& state, const v1::RunRef& ref) {
  if (ref.ref_case() == v1::RunRef::kName) {
    const Run* const run = NewestNamed(state, ref.name());
    if (run != nullptr) return run->record.run_id();
    return absl::NotFoundError(absl::StrCat("no run is named '", ref.name(), "'; `retort list` shows all"));
  }
  if (ref.ref_case() != v1::RunRef::kId) return absl::InvalidArgumentError("run: give its id or its name");
  if (state.runs.count(ref.id()) != 0) return ref.id();
  return absl::NotFoundError(absl::StrCat(
      "no run has id ", ref.id(), ": it was deleted, or there never was one; `retort list` shows all"));
}

Decision<v1::SubmitReply> DecideSubmit(const Moment& now, const State& state, const Options& options,
                                       const v1::SubmitRequest& request) {
  Decision<v1::SubmitReply> decision;
  if (AnswerRepeated(state, "Submit", request, decision)) return decision;
  decision.status = CheckJob(request.job());
  if (!decision.status.ok()) return decision;
  if (request.priority() < -kMaxPriority || request.priority() > kMaxPriority) {
    decision.status = absl::InvalidArgumentError(absl::StrCat(
        "priority ", request.priority(), " is not within -", kMaxPriority, " to ", kMaxPriority));
    return decision;
  }
  const Run* const namesake = NewestNamed(state, request.job().name());
  if (namesake != nullptr && !IsEnded(namesake->record.state())) {
    decision.status = absl::AlreadyExistsError(absl::StrCat(
        NameOf(namesake->record), " has not ended: wait for it, cancel it, or choose another name"));
    return decision;
  }
  Draft draft(now, state, options);
  v1::RunRecord& run = draft.AddRun();
  *run.mutable_job() = request.job();
  run.set_priority(request.priority());
  run.set_request_id(request.request_id());
  run.set_state(v1::RUN_STATE_QUEUED);
  run.set_reason("waits for a worker to prepare it");
  run.set_created_unix_ms(now.unix_ms);
  v1::TaskRecord prepare;
  prepare.set_version(1);
  prepare.set_run_id(run.run_id());
  prepare.set_stage(v1::STAGE_PREPARE);
  prepare.set_state(v1::TASK_STATE_PENDING);
  draft.AddTask(std::move(prepare));
  v1::EventRecord& event = draft.AddEvent(v1::EVENT_KIND_RUN_SUBMITTED);
  event.set_run_id(run.run_id());
  event.set_text(absl::StrCat(run.job().name(), ", priority ", run.priority()));
  draft.MakePlacementStale();
  decision.reply.set_run_id(run.run_id());
  decision.reason = absl::StrCat("submitted ", NameOf(run));
  KeepReply(draft, "Submit", request, decision.reply);
  decision.changes = draft.Finish();
  return decision;
}

Decision<v1::PauseReply> DecidePause(const Moment& now, const State& state, const Options& options,
                                     const v1::PauseRequest& request) {
  const auto pause = [](Draft& draft, uint64_t run_id, v1::PauseReply& reply) {
    const v1::RunRecord& run = draft.run(run_id);
    if (IsEnded(run.state()) || run.state() == v1::RUN_STATE_CANCELLING) {
      return Refused(run, "there is nothing to pause");
    }
    if (run.state() != v1::RUN_STATE_PAUSED && run.state() != v1::RUN_STATE_PAUSING) {
      const std::string why = "a user paused it; the holders are saving";
      ChangeRunState(draft, run_id, v1::RUN_STATE_PAUSING, why);
      AskYieldOfRun(draft, run_id, v1::END_CAUSE_PAUSED, why);
      SettleRun(draft, run_id);
    }
    reply.set_state(draft.run(run_id).state());
    return absl::OkStatus();
  };
  return ChangeRun<v1::PauseReply>(now, state, options, "Pause", request, pause);
}

Decision<v1::ResumeReply> DecideResume(const Moment& now, const State& state, const Options& options,
                                       const v1::ResumeRequest& request) {
  const auto resume = [](Draft& draft, uint64_t run_id, v1::ResumeReply& reply) {
    const v1::RunRecord& run = draft.run(run_id);
    if (IsEnded(run.state()) || run.state() == v1::RUN_STATE_CANCELLING) {
      return Refused(run, run.state() == v1::RUN_STATE_FAILED ? "`retort retry` takes it up again"
                                                              : "there is nothing to resume");
    }
    if (run.state() == v1::RUN_STATE_PAUSED || run.state() == v1::RUN_STATE_PAUSING) {
      const bool was_granted = draft.task(run_id, kPrepare).token() != 0;
      ChangeRunState(draft, run_id, was_granted ? v1::RUN_STATE_RUNNING : v1::RUN_STATE_QUEUED,
                     "a user resumed it");
      WithdrawUntoldYields(draft, run_id, v1::END_CAUSE_PAUSED);
    }
    draft.ForgetRefusalsOfRun(run_id);
    reply.set_state(draft.run(run_id).state());
    return absl::OkStatus();
  };
  return ChangeRun<v1::ResumeReply>(now, state, options, "Resume", request, resume);
}

Decision<v1::CancelReply> DecideCancel(const Moment& now, const State& state, const Options& options,
                                       const v1::CancelRequest& request) {
  const auto cancel = [](Draft& draft, uint64_t run_id, v1::CancelReply& reply) {
    const v1::RunRecord& run = draft.run(run_id);
    if (run.state() == v1::RUN_STATE_SUCCEEDED) return Refused(run, "there is nothing to cancel");
    if (run.state() != v1::RUN_STATE_CANCELLED && run.state() != v1::RUN_STATE_CANCELLING)
      CancelNow(draft, run_id);
    reply.set_state(draft.run(run_id).state());
    return absl::OkStatus();
  };
  return ChangeRun<v1::CancelReply>(now, state, options, "Cancel", request, cancel);
}

Decision<v1::RetryReply> DecideRetry(const Moment& now, const State& state, const Options& options,
                                     const v1::RetryRequest& request) {
  const auto retry = [](Draft& draft, uint64_t run_id, v1::RetryReply& reply) {
    const v1::RunRecord& run = draft.run(run_id);
    if (run.state() != v1::RUN_STATE_FAILED) return Refused(run, "only a run that FAILED can be retried");
    const Run* const newest = NewestNamed(draft.state(), run.job().name());
    if (newest->record.run_id() != run_id && !IsEnded(newest->record.state())) {
      return Refused(
          run, absl::StrCat(NameOf(newest->record), " bears its name and has not ended: cancel that first"));
    }
    uint32_t tasks = 0;
    for (const v1::TaskRecord* before : draft.Tasks(run_id)) {
      if (before->state() == v1::TASK_STATE_DONE) continue;
      v1::TaskRecord& task = draft.EditTask(run_id, IdOf(*before));
      task.set_user_errors(0);
      task.set_infrastructure_losses(0);
      task.set_preemptions(0);
      task.set_not_before_unix_ms(0);
      if (task.state() != v1::TASK_STATE_FAILED) continue;
      task.set_state(v1::TASK_STATE_PENDING);
      ++tasks;
    }
    ChangeRunState(draft, run_id, v1::RUN_STATE_RUNNING,
                   absl::StrCat("a user retried it; ", tasks, " tasks begin anew"));
    WithdrawUntoldYields(draft, run_id, v1::END_CAUSE_RUN_FAILED);
    draft.ForgetRefusalsOfRun(run_id);
    reply.set_tasks(tasks);
    return absl::OkStatus();
  };
  return ChangeRun<v1::RetryReply>(now, state, options, "Retry", request, retry);
}

Decision<v1::DeleteReply> DecideDelete(const Moment& now, const State& state, const Options& options,
                                       const v1::DeleteRequest& request) {
  const auto remove = [](Draft& draft, uint64_t run_id, v1::DeleteReply& reply) {
    const v1::RunRecord& run = draft.run(run_id);
    if (!IsEnded(run.state())) {
      return Refused(run, "only a run that has ended can be deleted; `retort cancel` ends it");
    }
    const std::vector<uint64_t> tokens = draft.TokensOf(run_id);
    if (!tokens.empty()) {
      return Refused(run, absl::StrCat(draft.FindLease(tokens.front())->record.worker_name(),
                                       " still gives a part of it back: repeat this in a few seconds"));
    }
    draft.DeleteRun(run_id);
    draft.AddEvent(v1::EVENT_KIND_RUN_DELETED)
        .set_text(absl::StrCat(NameOf(run), ", ", StateText(run.state())));
    reply.set_run_id(run_id);
    return absl::OkStatus();
  };
  return ChangeRun<v1::DeleteReply>(now, state, options, "Delete", request, remove);
}

Decision<v1::DrainWorkerReply> DecideDrainWorker(const Moment& now, const State& state,
                                                 const Options& options,
                                                 const v1::DrainWorkerRequest& request) {
  Decision<v1::DrainWorkerReply> decision;
  if (AnswerRepeated(state, "DrainWorker", request, decision)) return decision;
  const auto named = state.worker_named.find(request.worker_name());
  if (named == state.worker_named.end()) {
    decision.status = absl::NotFoundError(
        absl::StrCat("no worker is named '", request.worker_name(), "'; `retort workers` shows all"));
    return decision;
  }
  Draft draft(now, state, options);
  if (!state.FindWorker(named->second)->draining) {
    draft.EditWorker(named->second).draining = true;
    draft.MakePlacementStale();
    draft.AddEvent(v1::EVENT_KIND_WORKER_DRAINING).set_worker_name(request.worker_name());
    const Lease* const lease = state.LeaseOf(named->second);
    if (lease != nullptr) {
      AskYield(draft, lease->record.token(), v1::END_CAUSE_PREEMPTION, draft.HeldLayers(*lease),
               absl::StrCat("a user drains ", request.worker_name()));
    }
  }
  KeepReply(draft, "DrainWorker", request, decision.reply);
  decision.changes = draft.Finish();
  decision.reason = absl::StrCat("drains ", request.worker_name());
  return decision;
}

}  // namespace retort::orchestrator
