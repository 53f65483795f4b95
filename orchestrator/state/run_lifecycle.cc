#include "orchestrator/state/run_lifecycle.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace retort::orchestrator {
namespace {

// The store drops the checkpoints of a run that SUCCEEDED or was CANCELLED; nothing may name them any more.
void ForgetCheckpoints(Draft& draft, uint64_t run_id) {
  for (const v1::TaskRecord* task : draft.Tasks(run_id)) {
    if (task->last_publish() == 0 && task->best_publish() == 0) continue;
    v1::TaskRecord& edited = draft.EditTask(run_id, IdOf(*task));
    edited.set_last_publish(0);
    edited.set_best_publish(0);
  }
}

bool AllDone(const std::vector<const v1::TaskRecord*>& tasks) {
  const auto done = [](const v1::TaskRecord* task) { return task->state() == v1::TASK_STATE_DONE; };
  // PREPARE alone is not the run: the others are made when it is DONE.
  return tasks.size() > 1 && std::all_of(tasks.begin(), tasks.end(), done);
}

}  // namespace

void ChangeRunState(Draft& draft, uint64_t run_id, v1::RunState state, const std::string& reason) {
  if (draft.run(run_id).state() == state) return;
  v1::RunRecord& run = draft.EditRun(run_id);
  run.set_state(state);
  run.set_reason(reason);
  run.set_finished_unix_ms(IsEnded(state) ? draft.now().unix_ms : 0);
  v1::EventRecord& event = draft.AddEvent(v1::EVENT_KIND_RUN_STATE_CHANGED);
  event.set_run_id(run_id);
  event.set_run_state(state);
  event.set_text(reason);
  draft.MakePlacementStale();
}

void AskYield(Draft& draft, uint64_t token, v1::EndCause cause, std::vector<uint32_t> layers,
              const std::string& reason) {
  const std::optional<Yield>& asked = draft.FindLease(token)->yield;
  if (asked && asked->layers.size() >= layers.size() && asked->cause != v1::END_CAUSE_RECUT) return;
  Lease& lease = draft.TouchLease(token);
  v1::EventRecord& event = draft.AddEvent(v1::EVENT_KIND_LEASE_YIELD_ASKED, lease);
  event.mutable_layers()->Add(layers.begin(), layers.end());
  event.set_cause(cause);
  event.set_text(reason);
  lease.yield = Yield{cause, std::move(layers), reason, std::nullopt};
}

void AskYieldOfRun(Draft& draft, uint64_t run_id, v1::EndCause cause, const std::string& reason) {
  for (const uint64_t token : draft.TokensOf(run_id)) {
    AskYield(draft, token, cause, draft.HeldLayers(*draft.FindLease(token)), reason);
  }
}

void WithdrawUntoldYields(Draft& draft, uint64_t run_id, v1::EndCause cause) {
  for (const uint64_t token : draft.TokensOf(run_id)) {
    const std::optional<Yield>& yield = draft.FindLease(token)->yield;
    if (yield && yield->cause == cause && !yield->deadline_steady_ms) draft.TouchLease(token).yield.reset();
  }
}

void FailRun(Draft& draft, uint64_t run_id, const std::string& reason) {
  const v1::RunState state = draft.run(run_id).state();
  if (state == v1::RUN_STATE_FAILED || state == v1::RUN_STATE_CANCELLING) return;
  ChangeRunState(draft, run_id, v1::RUN_STATE_FAILED, reason);
  AskYieldOfRun(draft, run_id, v1::END_CAUSE_RUN_FAILED, reason);
}

void SettleRun(Draft& draft, uint64_t run_id) {
  const v1::RunState state = draft.run(run_id).state();
  if (IsEnded(state)) return;
  if (!draft.TokensOf(run_id).empty()) return;
  if (state == v1::RUN_STATE_CANCELLING) {
    ChangeRunState(draft, run_id, v1::RUN_STATE_CANCELLED, "cancelled; the last lease has ended");
    ForgetCheckpoints(draft, run_id);
    draft.EditRun(run_id).clear_result_publish();
    return;
  }
  const std::vector<const v1::TaskRecord*> tasks = draft.Tasks(run_id);
  if (AllDone(tasks)) {
    ChangeRunState(draft, run_id, v1::RUN_STATE_SUCCEEDED,
                   absl::StrCat("all ", tasks.size(), " tasks are done"));
    ForgetCheckpoints(draft, run_id);
  } else if (state == v1::RUN_STATE_PAUSING) {
    ChangeRunState(draft, run_id, v1::RUN_STATE_PAUSED, "paused; the last lease has ended");
  }
}

}  // namespace retort::orchestrator
