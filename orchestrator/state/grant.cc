#include "orchestrator/state/grant.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/counted.h"
#include "core/base/sha256.h"
#include "core/base/work_names.h"
#include "orchestrator/state/assign.h"
#include "orchestrator/state/callers.h"
#include "orchestrator/state/draft.h"
#include "orchestrator/state/gang.h"
#include "orchestrator/state/relay_orders.h"
#include "orchestrator/state/run_lifecycle.h"
#include "orchestrator/state/run_view.h"

namespace retort::orchestrator {
namespace {

void SetReference(const v1::TaskRecord& task, v1::CheckpointRef& reference) {
  reference.set_stage(task.stage());
  reference.set_layer(task.layer());
  reference.set_publish(task.last_publish());
}

// A rank starts where the stage stands.
void AddRank(const Draft& draft, const v1::TaskRecord& rank, v1::Slice& slice) {
  const v1::TaskRecord& stage = draft.task(rank.run_id(), kEndToEnd);
  v1::SliceLayer& layer = *slice.add_layers();
  layer.set_layer(rank.layer());
  layer.set_next_step(stage.step());
  layer.set_total_steps(stage.total_steps());
  if (stage.step() > 0) SetReference(stage, *layer.mutable_checkpoint());
}

// From the task's own last checkpoint, else from that of the stage before.
void AddSliceLayer(const Draft& draft, const v1::TaskRecord& task, v1::Slice& slice) {
  v1::SliceLayer& layer = *slice.add_layers();
  layer.set_layer(task.layer());
  layer.set_next_step(task.step());
  layer.set_total_steps(task.total_steps());
  if (task.step() > 0) {
    SetReference(task, *layer.mutable_checkpoint());
  } else if (task.stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT) {
    const TaskId before = {v1::STAGE_MATRIX_ORIENTATION, task.layer()};
    if (draft.state().FindTask(task.run_id(), before) != nullptr) {
      SetReference(draft.task(task.run_id(), before), *layer.mutable_checkpoint());
    }
  }
}

v1::Slice SliceOf(const Draft& draft, const Lease& lease) {
  const v1::LeaseRecord& record = lease.record;
  const v1::RunRecord& run = draft.run(record.run_id());
  v1::Slice slice;
  slice.set_token(record.token());
  slice.set_run_id(record.run_id());
  slice.set_stage(record.stage());
  *slice.mutable_job() = run.job();
  for (const uint32_t layer : draft.HeldLayers(lease)) {
    const v1::TaskRecord& task = draft.task(record.run_id(), {record.stage(), layer});
    if (record.stage() == v1::STAGE_END_TO_END) {
      AddRank(draft, task, slice);
    } else {
      AddSliceLayer(draft, task, slice);
    }
  }
  if (record.stage() == v1::STAGE_PREPARE) return slice;
  *slice.mutable_inputs() = run.inputs();
  *slice.mutable_numerics() = run.numerics();
  slice.set_identity_sha256(run.identity_sha256());
  slice.set_input(record.input());
  if (record.stage() != v1::STAGE_END_TO_END) {
    *slice.mutable_relay() = RelayOrdersOf(draft, lease);
    return slice;
  }
  *slice.mutable_gang() = GangOf(draft, record.run_id());
  for (const auto& [id, task] : draft.state().run(record.run_id()).tasks) {
    const bool is_earlier =
        id.stage == v1::STAGE_MATRIX_ORIENTATION || id.stage == v1::STAGE_HIDDEN_STATE_ALIGNMENT;
    if (is_earlier) SetReference(task, *slice.add_handover());
  }
  return slice;
}

void FixNumerics(Draft& draft, uint64_t run_id, const Worker& worker) {
  v1::RunRecord& run = draft.EditRun(run_id);
  *run.mutable_numerics() = NumericsOn(run.job(), worker.registration.capabilities());
  run.set_identity_sha256(IdentitySha256(run));
  v1::EventRecord& event = draft.AddEvent(v1::EVENT_KIND_NUMERICS_RESOLVED);
  event.set_run_id(run_id);
  const v1::Numerics& numerics = run.numerics();
  event.set_text(absl::StrCat(DeviceName(numerics.device()), ", ", ComputePathName(numerics.compute_path()),
                              ", ", Counted(numerics.threads(), "thread"), " a worker, micro-batch ",
                              numerics.micro_batch(), ", sources ", numerics.numerics_id().substr(0, 12),
                              "; as worker ", worker.name(), " computes"));
}

// Rows that the target names and that could be one slice, or why there is none now.
struct GrantableRows {
  v1::Stage stage = v1::STAGE_UNSPECIFIED;
  std::vector<uint32_t> layers = {};
  std::string why_none = {};
};

GrantableRows RowsOfLayers(const Moment& now, const State& state, const Run& run, const Target& target) {
  std::vector<GrantableRows> slices;
  const OpenLayer* last = nullptr;
  size_t waiting = 0;
  const std::vector<OpenLayer> open = OpenLayersOf(now, state, run);
  for (const OpenLayer& layer : open) {
    if (layer.layer < target.first_layer || layer.layer > target.last_layer) continue;
    if (layer.token != 0) {
      // Without it the slice would not be what the plan wanted; it comes within yield_within_ms.
      return {.why_none = absl::StrCat("waits for layer ", layer.layer, ", which ",
                                       state.FindLease(layer.token)->record.worker_name(), " still holds")};
    }
    if (layer.is_waiting) {
      ++waiting;
      continue;
    }
    if (last == nullptr || !AreNeighbours(*last, layer)) slices.push_back({.stage = layer.stage});
    slices.back().layers.push_back(layer.layer);
    last = &layer;
  }
  if (slices.empty()) {
    return {.why_none = waiting > 0 ? absl::StrCat(waiting, " layers that it shall have are in back-off")
                                    : "what it should have had is done; the next plan says what follows"};
  }
  // Stage 1 before stage 2, for more is left to do there; then the lower one.
  return *std::min_element(slices.begin(), slices.end(),
                           [](const auto& a, const auto& b) { return a.stage < b.stage; });
}

GrantableRows RowsOf(const Moment& now, const State& state, const Target& target) {
  const Run& run = state.run(target.run_id);
  GrantableRows rows;
  if (!IsGrantable(run.record.state())) {
    rows.why_none = absl::StrCat(NameOf(run.record), " is ", v1::RunState_Name(run.record.state()));
    return rows;
  }
  if (target.stage == v1::STAGE_UNSPECIFIED) return RowsOfLayers(now, state, run, target);
  const auto found = run.tasks.find({target.stage, target.first_layer});
  if (found == run.tasks.end()) {
    rows.why_none = absl::StrCat("rank ", target.first_layer, " of ", NameOf(run.record),
                                 " waits for the grant of rank 0, which fixes the number of ranks");
    return rows;
  }
  const v1::TaskRecord& task = found->second;
  if (task.state() != v1::TASK_STATE_PENDING) {
    rows.why_none =
        absl::StrCat(StageName(target.stage), " of ", NameOf(run.record), " is another worker's still");
  } else if (task.not_before_unix_ms() > now.unix_ms) {
    rows.why_none =
        absl::StrFormat("%s of %s is in back-off for %.1f s", std::string(StageName(target.stage)),
                        NameOf(run.record), (task.not_before_unix_ms() - now.unix_ms) / 1000.0);
  } else {
    rows.stage = target.stage;
    rows.layers = {target.first_layer};
  }
  return rows;
}

// Stage 3 has as many ranks as the job says, else as the plan has for it now.
void FixWorldSize(Draft& draft, uint64_t run_id) {
  const uint32_t asked = draft.run(run_id).job().stages().end_to_end().world_size();
  uint32_t planned = 0;
  for (const auto& [worker_id, target] : draft.state().placement.targets) {
    planned += target.run_id == run_id && target.stage == v1::STAGE_END_TO_END;
  }
  const uint32_t world_size = asked != 0 ? asked : planned;
  AddRanks(draft, run_id, world_size);
  v1::EventRecord& event = draft.AddEvent(v1::EVENT_KIND_NUMERICS_RESOLVED);
  event.set_run_id(run_id);
  event.set_stage(v1::STAGE_END_TO_END);
  event.set_text(absl::StrCat("end_to_end has ", Counted(world_size, "rank"),
                              asked != 0 ? ", as the job says" : ", as many as fit", ": ",
                              draft.state().placement.run_reason.at(run_id)));
}

const Lease& Grant(Draft& draft, const Worker& worker, uint64_t run_id, const GrantableRows& rows) {
  if (rows.stage != v1::STAGE_PREPARE && !draft.run(run_id).has_numerics())
    FixNumerics(draft, run_id, worker);
  if (rows.stage == v1::STAGE_END_TO_END && draft.run(run_id).world_size() == 0) FixWorldSize(draft, run_id);
  Lease& lease = draft.AddLease();
  lease.record.set_run_id(run_id);
  lease.record.set_stage(rows.stage);
  lease.record.set_first_layer(rows.layers.front());
  lease.record.set_layer_count(rows.layers.back() - rows.layers.front() + 1);
  lease.record.set_worker_id(worker.id());
  lease.record.set_worker_name(worker.name());
  lease.record.set_granted_unix_ms(draft.now().unix_ms);
  lease.record.set_input(ChooseInput(draft, run_id, worker.id(), rows.stage, rows.layers.front()));
  lease.deadline_steady_ms = draft.now().steady_ms + draft.options().lease_ttl_ms;
  lease.attempt.set_run_id(run_id);
  lease.attempt.set_stage(rows.stage);
  lease.attempt.set_worker_name(worker.name());
  lease.attempt.set_started_unix_ms(draft.now().unix_ms);
  v1::EventRecord& event = draft.AddEvent(v1::EVENT_KIND_LEASE_GRANTED, lease);
  for (const uint32_t layer : rows.layers) {
    v1::TaskRecord& task = draft.EditTask(run_id, {rows.stage, layer});
    task.set_state(v1::TASK_STATE_LEASED);
    task.set_token(lease.record.token());
    v1::AttemptLayer& attempt = *lease.attempt.add_layers();
    attempt.set_layer(layer);
    attempt.set_from_step(task.step());
    attempt.set_to_step(task.step());
    event.add_layers(layer);
    event.add_steps(task.step());
  }
  ChangeRunState(draft, run_id, v1::RUN_STATE_RUNNING, absl::StrCat("first grant, to ", worker.name()));
  return lease;
}

}  // namespace

std::string IdentitySha256(const v1::RunRecord& run) {
  v1::JobSpec job = run.job();
  job.clear_name();
  job.clear_checkpoint();
  const std::string parts[] = {job.SerializeAsString(), run.inputs().SerializeAsString(),
                               run.numerics().SerializeAsString()};
  std::string bytes;
  for (const std::string& part : parts) absl::StrAppend(&bytes, part.size(), ":", part);
  return absl::HexStringToBytes(Sha256Hex(bytes));
}

Decision<v1::LeaseReply> DecideLease(const Moment& now, const State& state, const Options& options,
                                     const v1::LeaseRequest& request) {
  Decision<v1::LeaseReply> decision;
  decision.status = CheckCaller(state, request.worker_id(), request.epoch());
  if (!decision.status.ok()) return decision;
  Draft draft(now, state, options);
  const Worker& worker = *state.FindWorker(request.worker_id());
  const Lease* const standing = state.LeaseOf(request.worker_id());
  const auto target = state.placement.targets.find(request.worker_id());
  if (standing != nullptr) {
    *decision.reply.mutable_slice() = SliceOf(draft, *standing);
    decision.reason = absl::StrCat("the lease under token ", standing->record.token(), " still stands");
  } else if (worker.draining) {
    decision.reason = absl::StrCat(worker.name(), " is told to leave");
  } else if (target == state.placement.targets.end()) {
    decision.reason = state.placement_stale ? "a new plan is due" : state.placement.idle_reason;
  } else {
    const Run& run = state.run(target->second.run_id);
    const GrantableRows rows = RowsOf(now, state, target->second);
    if (rows.layers.empty()) {
      decision.reason = rows.why_none;
    } else if (!MayOffer(now, run, worker, rows.stage != v1::STAGE_PREPARE)) {
      decision.reason =
          absl::StrCat(worker.name(), " does not match ", NameOf(run.record), ": a new plan is due");
    } else {
      const Lease& lease = Grant(draft, worker, target->second.run_id, rows);
      *decision.reply.mutable_slice() = SliceOf(draft, lease);
      decision.reason =
          absl::StrCat(StageName(rows.stage), " of ", NameOf(run.record), ", ", LayersText(rows.layers),
                       ", to ", worker.name(), " under token ", lease.record.token(), "; ",
                       state.placement.run_reason.at(target->second.run_id));
    }
  }
  decision.reply.set_reason(decision.reason);
  decision.changes = draft.Finish();
  return decision;
}

}  // namespace retort::orchestrator
