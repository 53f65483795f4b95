#include <algorithm>

#include "absl/strings/str_cat.h"
#include "orchestrator/state/callers.h"
#include "orchestrator/state/draft.h"
#include "orchestrator/state/gang.h"
#include "orchestrator/state/membership.h"
#include "orchestrator/state/relay_orders.h"

namespace retort::orchestrator {
namespace {

std::vector<uint32_t> ReportedLayers(const v1::SliceProgress& progress) {
  std::vector<uint32_t> layers;
  for (const v1::LayerProgress& layer : progress.layers()) layers.push_back(layer.layer());
  std::sort(layers.begin(), layers.end());
  return layers;
}

void SetVerdict(v1::LeaseAction action, v1::EndCause cause, const std::vector<uint32_t>& layers,
                const std::string& reason, v1::LeaseVerdict& verdict) {
  verdict.set_action(action);
  verdict.set_cause(cause);
  verdict.mutable_layers()->Assign(layers.begin(), layers.end());
  verdict.set_reason(reason);
}

// Of a token under which no lease of this worker stands.
void StopAll(const State& state, const v1::SliceProgress& progress, v1::LeaseVerdict& verdict) {
  const std::vector<uint32_t> layers = ReportedLayers(progress);
  const auto rows = state.rows_of_token.find(progress.token());
  const bool all_done = !layers.empty() && std::all_of(layers.begin(), layers.end(), [&](uint32_t layer) {
    return IsRowDoneUnder(state, progress.token(), layer);
  });
  if (all_done) {
    SetVerdict(v1::LEASE_ACTION_STOP, v1::END_CAUSE_COMPLETED, layers,
               absl::StrCat(LayersText(layers), " completed under token ", progress.token()), verdict);
  } else if (rows != state.rows_of_token.end() &&
             state.run(rows->second.run_id).record.state() == v1::RUN_STATE_CANCELLED) {
    SetVerdict(v1::LEASE_ACTION_STOP, v1::END_CAUSE_CANCELLED, layers, "the run was cancelled", verdict);
  } else {
    SetVerdict(v1::LEASE_ACTION_STOP, v1::END_CAUSE_INFRASTRUCTURE, layers,
               absl::StrCat("the lease under token ", progress.token(),
                            " has ended: it expired, was revoked or given back"),
               verdict);
  }
}

// Keeps what was reported; of a layer's steps the highest, as requests may arrive late or twice.
void MergeProgress(const v1::SliceProgress& reported, v1::SliceProgress& known) {
  v1::SliceProgress merged = reported;
  for (v1::LayerProgress& layer : *merged.mutable_layers()) {
    for (const v1::LayerProgress& before : known.layers()) {
      if (before.layer() == layer.layer() && before.step() > layer.step()) layer = before;
    }
  }
  known = std::move(merged);
}

void JudgeLease(Draft& draft, const Lease& lease, const v1::SliceProgress& progress,
                v1::LeaseVerdict& verdict) {
  const State& state = draft.state();
  const uint64_t token = progress.token();
  const std::vector<uint32_t> held = draft.HeldLayers(lease);
  const v1::RunRecord& run = draft.run(lease.record.run_id());
  if (run.state() == v1::RUN_STATE_CANCELLING) {
    SetVerdict(v1::LEASE_ACTION_STOP, v1::END_CAUSE_CANCELLED, held, run.reason(), verdict);
    return;
  }
  Lease& renewed = draft.TouchLease(token);
  renewed.deadline_steady_ms = draft.now().steady_ms + draft.options().lease_ttl_ms;
  renewed.heartbeat_seen = true;
  MergeProgress(progress, renewed.progress);

  std::vector<uint32_t> lost = ReportedLayers(progress);
  std::erase_if(lost, [&](uint32_t layer) {
    return std::count(held.begin(), held.end(), layer) != 0 || IsRowDoneUnder(state, token, layer);
  });
  if (!lost.empty()) {
    SetVerdict(v1::LEASE_ACTION_STOP, v1::END_CAUSE_INFRASTRUCTURE, lost,
               absl::StrCat(LayersText(lost), " no longer held under token ", token), verdict);
  } else if (renewed.yield) {
    Yield& yield = *renewed.yield;
    if (!yield.deadline_steady_ms) {
      yield.deadline_steady_ms = draft.now().steady_ms + draft.options().yield_within_ms;
    }
    SetVerdict(v1::LEASE_ACTION_YIELD, yield.cause, yield.layers, yield.reason, verdict);
    verdict.set_yield_within_ms(static_cast<uint32_t>(draft.options().yield_within_ms));
  } else {
    verdict.set_action(v1::LEASE_ACTION_CONTINUE);
    verdict.set_reform_generation(ReformGeneration(state, lease));
  }
  const v1::Stage stage = lease.record.stage();
  if (stage == v1::STAGE_MATRIX_ORIENTATION || stage == v1::STAGE_HIDDEN_STATE_ALIGNMENT) {
    *verdict.mutable_relay() = RelayOrdersOf(draft, renewed);
  }
}

}  // namespace

Decision<v1::HeartbeatReply> DecideHeartbeat(const Moment& now, const State& state, const Options& options,
                                             const v1::HeartbeatRequest& request) {
  Decision<v1::HeartbeatReply> decision;
  decision.status = CheckCaller(state, request.worker_id(), request.epoch());
  if (!decision.status.ok()) return decision;
  const v1::SliceProgress& progress = request.progress();
  if (request.has_progress() && (progress.token() == 0 || progress.phase() == v1::SLICE_PHASE_UNSPECIFIED)) {
    decision.status = absl::InvalidArgumentError("Heartbeat: progress without token or phase");
    return decision;
  }
  Draft draft(now, state, options);
  Worker& worker = draft.EditWorker(request.worker_id());
  worker.last_heartbeat_steady_ms = now.steady_ms;
  decision.reply.set_command(worker.draining ? v1::WORKER_COMMAND_LEAVE : v1::WORKER_COMMAND_CONTINUE);
  if (request.has_progress()) {
    v1::LeaseVerdict& verdict = *decision.reply.mutable_verdict();
    verdict.set_token(progress.token());
    const Lease* const lease = state.FindLease(progress.token());
    if (lease != nullptr && lease->record.worker_id() == request.worker_id()) {
      JudgeLease(draft, *lease, progress, verdict);
    } else {
      StopAll(state, progress, verdict);
    }
    decision.reason = verdict.reason();
  }
  decision.changes = draft.Finish();
  return decision;
}

}  // namespace retort::orchestrator
