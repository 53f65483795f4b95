#include "orchestrator/state/lease_end.h"

#include <algorithm>
#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/check.h"
#include "core/base/random.h"
#include "orchestrator/state/run_lifecycle.h"

namespace retort::orchestrator {
namespace {

// A budget of a task: how many attempts it has lost to the cause, and may lose.
struct Budget {
  uint32_t used;
  uint32_t limit;
  const char* name;
};

// Counts a loss; nullopt: the cause is free.
std::optional<Budget> Charge(const Options& options, v1::EndCause cause, v1::TaskRecord& task) {
  switch (cause) {
    case v1::END_CAUSE_USER_ERROR:
      task.set_user_errors(task.user_errors() + 1);
      return Budget{task.user_errors(), task.stage() == v1::STAGE_PREPARE ? 1 : options.user_error_budget,
                    "errors of the job"};
    case v1::END_CAUSE_INFRASTRUCTURE:
      task.set_infrastructure_losses(task.infrastructure_losses() + 1);
      return Budget{task.infrastructure_losses(), options.infrastructure_budget, "losses of infrastructure"};
    case v1::END_CAUSE_PREEMPTION:
      task.set_preemptions(task.preemptions() + 1);
      return Budget{task.preemptions(), options.preemption_budget, "preemptions"};
    default:
      return std::nullopt;
  }
}

v1::EventRecord& AddRowEvent(Draft& draft, v1::EventKind kind, const v1::TaskRecord& task,
                             v1::EndCause cause) {
  v1::EventRecord& event = draft.AddEvent(kind);
  event.set_run_id(task.run_id());
  event.set_stage(task.stage());
  event.add_layers(task.layer());
  event.set_cause(cause);
  return event;
}

std::string TaskText(const v1::TaskRecord& task) {
  const bool is_of_layer =
      task.stage() == v1::STAGE_MATRIX_ORIENTATION || task.stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT;
  if (task.stage() == v1::STAGE_END_TO_END && task.layer() != 0) {
    return absl::StrCat(StageName(task.stage()), ", rank ", task.layer());
  }
  return is_of_layer ? absl::StrCat(StageName(task.stage()), " of layer ", task.layer())
                     : std::string(StageName(task.stage()));
}

// The row is PENDING again, or FAILED with its run.
void ReturnRow(Draft& draft, v1::TaskRecord& task, const RowEnd& end) {
  task.set_state(v1::TASK_STATE_PENDING);
  if (end.cause == v1::END_CAUSE_USER_ERROR || end.cause == v1::END_CAUSE_INFRASTRUCTURE ||
      end.cause == v1::END_CAUSE_WRONG_INPUT) {
    task.set_message(end.message);
  }
  if (end.is_free) return;
  const std::optional<Budget> budget = Charge(draft.options(), end.cause, task);
  if (!budget) return;
  if (budget->used >= budget->limit) {
    task.set_state(v1::TASK_STATE_FAILED);
    const std::string text =
        absl::StrCat(budget->used, " of ", budget->limit, " ", budget->name, ": ", end.message);
    AddRowEvent(draft, v1::EVENT_KIND_TASK_FAILED, task, end.cause).set_text(text);
    FailRun(draft, task.run_id(), absl::StrCat(TaskText(task), " failed after ", text));
    return;
  }
  const uint64_t random =
      MixSeed(draft.now().random, {task.run_id(), static_cast<uint64_t>(task.stage()), task.layer()});
  const int64_t wait_ms = BackoffMs(draft.options(), budget->used, random);
  task.set_not_before_unix_ms(draft.now().unix_ms + wait_ms);
  AddRowEvent(draft, v1::EVENT_KIND_TASK_RETRIED, task, end.cause)
      .set_text(absl::StrFormat("%d of %d %s: %s; granted again in %.1f s at the earliest", budget->used,
                                budget->limit, budget->name, end.message, wait_ms / 1000.0));
}

void CloseAttempt(Draft& draft, const std::vector<uint32_t>& layers, const RowEnd& end, Lease& lease) {
  for (v1::AttemptLayer& layer : *lease.attempt.mutable_layers()) {
    if (std::count(layers.begin(), layers.end(), layer.layer()) == 0) continue;
    layer.set_to_step(draft.task(lease.record.run_id(), {lease.record.stage(), layer.layer()}).step());
    layer.set_cause(end.cause);
  }
  if (end.cause != v1::END_CAUSE_COMPLETED) lease.attempt.set_message(end.message);
}

// Narrows the lease, and the wish to have layers back, to the rows that it still holds.
void NarrowLease(const std::vector<uint32_t>& held, Lease& lease) {
  lease.record.set_first_layer(held.front());
  lease.record.set_layer_count(held.back() - held.front() + 1);
  if (!lease.yield) return;
  std::vector<uint32_t>& asked = lease.yield->layers;
  std::erase_if(asked, [&](uint32_t layer) { return std::count(held.begin(), held.end(), layer) == 0; });
  if (asked.empty()) lease.yield.reset();
}

}  // namespace

int64_t BackoffMs(const Options& options, uint32_t losses, uint64_t random) {
  RETORT_CHECK(losses > 0);
  const int doublings = static_cast<int>(std::min<uint32_t>(losses - 1, 30));
  const int64_t full_ms = std::min(options.backoff_max_ms, options.backoff_first_ms << doublings);
  const double part = 0.5 + 0.5 * (static_cast<double>(random >> 11) / 9007199254740992.0);  // 2^53
  return static_cast<int64_t>(static_cast<double>(full_ms) * part);
}

void EndRows(Draft& draft, uint64_t token, const std::vector<uint32_t>& layers, const RowEnd& end) {
  if (layers.empty()) return;
  Lease& lease = draft.EditLease(token);
  const uint64_t run_id = lease.record.run_id();
  CloseAttempt(draft, layers, end, lease);
  v1::EventRecord& ended = draft.AddEvent(v1::EVENT_KIND_LEASE_ENDED, lease);
  ended.set_cause(end.cause);
  ended.set_text(end.message);
  for (const uint32_t layer : layers) {
    const v1::TaskRecord& task = draft.task(run_id, {lease.record.stage(), layer});
    RETORT_CHECK(task.state() == v1::TASK_STATE_LEASED && task.token() == token)
        << "layer " << layer << " token " << token;
    ended.add_layers(layer);
    ended.add_steps(task.step());
  }
  // The rows and the lease first: what fails the run asks the other holders, and must not ask this one.
  std::vector<v1::TaskRecord*> returned;
  for (const uint32_t layer : layers) {
    v1::TaskRecord& task = draft.EditTask(run_id, {lease.record.stage(), layer});
    task.set_state(end.cause == v1::END_CAUSE_COMPLETED ? v1::TASK_STATE_DONE : v1::TASK_STATE_PENDING);
    if (end.cause != v1::END_CAUSE_COMPLETED) returned.push_back(&task);
  }
  const std::vector<uint32_t> held = draft.HeldLayers(lease);
  if (held.empty()) {
    lease.attempt.set_ended_unix_ms(draft.now().unix_ms);
    draft.EndLease(token);
  } else {
    NarrowLease(held, lease);
  }
  draft.MakePlacementStale();
  for (v1::TaskRecord* task : returned) ReturnRow(draft, *task, end);
  SettleRun(draft, run_id);
}

void EndLease(Draft& draft, uint64_t token, const RowEnd& end) {
  EndRows(draft, token, draft.HeldLayers(*draft.FindLease(token)), end);
}

}  // namespace retort::orchestrator
