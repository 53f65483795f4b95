#include "tests/sim/oracle.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/store/checkpoint_reader.h"
#include "orchestrator/state/invariants.h"

namespace retort::sim {
namespace {

using orchestrator::State;
using orchestrator::TaskId;

std::string RowName(const v1::TaskRecord& task) {
  return absl::StrCat("run ", task.run_id(), " ", StageName(task.stage()), " layer ", task.layer());
}

bool IsHeld(const v1::TaskRecord& task, uint64_t token) {
  return task.state() == v1::TASK_STATE_LEASED && task.token() == token;
}

// Everything of a State that the store has, in one text.
std::map<std::string, std::string> DurableOf(const State& state) {
  std::map<std::string, std::string> records;
  for (const auto& [run_id, run] : state.runs) {
    records[absl::StrCat("run ", run_id)] = run.record.SerializeAsString();
    for (const auto& [id, task] : run.tasks) records[RowName(task)] = task.SerializeAsString();
  }
  for (const auto& [token, lease] : state.leases) {
    records[absl::StrCat("lease ", token)] = lease.record.SerializeAsString();
    records[absl::StrCat("attempt ", token)] = lease.attempt.SerializeAsString();
  }
  for (const auto& [id, request] : state.requests) {
    records[absl::StrCat("request ", id)] = request.SerializeAsString();
  }
  return records;
}

}  // namespace

absl::StatusOr<SavedLayer> ReadSaved(Store& store, const ManifestKey& key) {
  ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> reader, CheckpointReader::Open(store, key));
  SavedLayer saved = {.layer = key.layer, .step = reader->manifest().step(), .loss = 0, .tensors = {}};
  for (const v1::StoredTensor& tensor : reader->tensors()) {
    saved.tensors.push_back(
        {.name = tensor.info().name(), .dtype = tensor.info().dtype(), .shape = {}, .bytes = ""});
  }
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<CheckpointReader::Piece> piece, reader->Next());
    if (!piece) return saved;
    saved.tensors[piece->index].bytes += piece->data;
  }
}

Undisturbed& Oracle::UndisturbedOf(const orchestrator::Run& run) {
  std::unique_ptr<Undisturbed>& undisturbed = undisturbed_[run.record.run_id()];
  if (undisturbed == nullptr) {
    undisturbed = std::make_unique<Undisturbed>(run.record.job(), teacher_layers_);
  }
  return *undisturbed;
}

void Oracle::CheckManifest(Store& store, const ManifestKey& key, const State& state) {
  const absl::StatusOr<SavedLayer> saved = ReadSaved(store, key);
  if (!saved.ok()) {
    return world_.Violation("a checkpoint that counts cannot be read: ", saved.status().ToString());
  }
  const orchestrator::Run& run = state.run(key.run_id);
  if (run.record.result_publish() == key.publish) {
    if (saved->tensors.at(0).bytes == UndisturbedOf(run).ResultFile()) return;
    return world_.Violation("run ", key.run_id, " has the result '", saved->tensors.at(0).bytes,
                            "' where an undisturbed one has '", UndisturbedOf(run).ResultFile(), "'");
  }
  const absl::StatusOr<ChainState> restored = Restore(*saved);
  const bool is_right =
      restored.ok() && *restored == UndisturbedOf(run).StateAt(key.stage, key.layer, saved->step);
  if (!is_right) {
    world_.Violation("checkpoint ", key.publish, " of run ", key.run_id, " ", StageName(key.stage), " layer ",
                     key.layer, " at step ", saved->step, " is not what an undisturbed run has there");
  }
}

// The ranks above 0 end with the stage.
bool EndsWithRankZero(const Oracle::Claim& claim, const State& before, const v1::TaskRecord& was) {
  if (was.stage() != v1::STAGE_END_TO_END || was.layer() == 0 || claim.call != "CommitPublish") return false;
  const v1::TaskRecord* const stage = before.FindTask(was.run_id(), orchestrator::kEndToEnd);
  return stage != nullptr && IsHeld(*stage, claim.token);
}

// Only the holder of the row's token changes its progress, and only time or a user ends it for somebody else.
void Oracle::CheckRowChange(const Claim& claim, const State& before, const v1::TaskRecord& was,
                            const v1::TaskRecord& is) {
  const bool has_progressed = was.step() != is.step() ||
                              (is.last_publish() != 0 && was.last_publish() != is.last_publish()) ||
                              (was.state() != v1::TASK_STATE_DONE && is.state() == v1::TASK_STATE_DONE);
  const bool was_ended_by_call =
      was.state() == v1::TASK_STATE_LEASED && is.state() != v1::TASK_STATE_LEASED && claim.token != 0;
  if (!has_progressed && !was_ended_by_call) return;
  const orchestrator::Lease* const lease = before.FindLease(claim.token);
  const bool is_holders =
      IsHeld(was, claim.token) && lease != nullptr && lease->record.worker_id() == claim.worker_id;
  if (!is_holders && !EndsWithRankZero(claim, before, was)) {
    world_.Violation(claim.call, " under token ", claim.token, " was accepted for ", RowName(was),
                     ", which was ", v1::TaskState_Name(was.state()), " under token ", was.token());
  }
}

int64_t Oracle::LastsUntilMs(uint64_t token) const {
  const auto lasts = lasts_until_ms_.find(token);
  return std::max(grace_until_ms_, lasts == lasts_until_ms_.end() ? 0 : lasts->second);
}

void Oracle::CheckExpiries(const State& before, const State& after, int64_t steady_ms) {
  constexpr int64_t kClockRatesMs = 100;  // 0.2 % of a lease, and rounding
  for (const auto& [token, lease] : before.leases) {
    const bool was_revoked =
        lease.yield && lease.yield->deadline_steady_ms && *lease.yield->deadline_steady_ms <= steady_ms;
    if (after.FindLease(token) != nullptr || was_revoked) continue;
    if (world_.now_ms() + kClockRatesMs < LastsUntilMs(token)) {
      world_.Violation("the lease under token ", token, " was ended by time before its time, ",
                       LastsUntilMs(token));
    }
  }
}

void Oracle::OnBegun(const v1::BeginPublishRequest& request, const State& state) {
  const orchestrator::Lease* const lease = state.FindLease(request.token());
  for (const v1::LayerCheckpoint& layer : request.layers()) {
    const v1::TaskRecord* const task =
        lease == nullptr ? nullptr
                         : state.FindTask(lease->record.run_id(), {lease->record.stage(), layer.layer()});
    if (task == nullptr || !IsHeld(*task, request.token()) ||
        lease->record.worker_id() != request.worker_id()) {
      world_.Violation("BeginPublish under token ", request.token(), " was accepted for layer ",
                       layer.layer(), ", which that token does not hold");
    }
  }
}

void Oracle::OnRenewed(uint64_t token, int64_t until_ms, const State& state) {
  lasts_until_ms_[token] = until_ms;
  if (state.FindLease(token) == nullptr) {
    world_.Violation("a heartbeat renewed the lease under token ", token, ", which does not stand");
  }
}

void Oracle::OnChange(const Claim& claim, int64_t steady_ms, const State& before, const State& after) {
  if (claim.call == "Tick") CheckExpiries(before, after, steady_ms);
  for (const std::string& wrong : orchestrator::CheckInvariants(after))
    world_.Violation(claim.call, ": ", wrong);
  for (const std::string& wrong : orchestrator::CheckProgress(before, after)) {
    world_.Violation(claim.call, ": ", wrong);
  }
  for (const auto& [run_id, run] : before.runs) {
    for (const auto& [id, was] : run.tasks) {
      const v1::TaskRecord* const is = after.FindTask(run_id, id);
      if (is != nullptr) CheckRowChange(claim, before, was, *is);
    }
    const auto later = after.runs.find(run_id);
    if (later == after.runs.end()) continue;
    if (later->second.record.result_publish() == run.record.result_publish()) continue;
    const v1::TaskRecord* const row = before.FindTask(run_id, orchestrator::kEndToEnd);
    if (row == nullptr || !IsHeld(*row, claim.token)) {
      world_.Violation(claim.call, " set the result of run ", run_id, " under token ", claim.token);
    }
  }
}

void Oracle::OnAnswer(const std::string& call, bool is_awaited, const absl::Status& status) {
  // A process that is gone may still have registered under the name after the one that waits.
  const bool is_taken = call == "Register" && absl::IsFailedPrecondition(status);
  const bool is_mistake = absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status) ||
                          absl::IsUnimplemented(status) || absl::IsInternal(status) ||
                          absl::IsUnknown(status);
  if (is_awaited && is_mistake && !is_taken) world_.Violation(call, " was refused: ", status.ToString());
}

void Oracle::OnUserAnswer(const std::string& request_id, const absl::Status& status,
                          const std::string& reply) {
  const auto first = first_replies_.find(request_id);
  if (first == first_replies_.end()) {
    if (status.ok()) first_replies_[request_id] = reply;
  } else if (!absl::IsUnavailable(status) && (!status.ok() || reply != first->second)) {
    world_.Violation("request ", request_id,
                     ", repeated, got another answer than at first: ", status.ToString());
  }
}

void Oracle::OnStart(Store& store, const State& before, const State& loaded, bool is_exact) {
  for (const std::string& wrong : orchestrator::CheckProgress(before, loaded)) {
    world_.Violation("after a start: ", wrong);
  }
  const std::map<std::string, std::string> had = DurableOf(before), has = DurableOf(loaded);
  for (const auto& [name, record] : had) {
    const auto found = has.find(name);
    const bool is_same = found != has.end() && found->second == record;
    if (is_exact && !is_same) world_.Violation("after a start ", name, " is not what was answered");
    if (found == has.end() && name.starts_with("request"))
      world_.Violation("after a start ", name, " is lost");
  }
  if (is_exact && has.size() != had.size())
    world_.Violation("after a start there are records that nobody wrote");
  for (const auto& [run_id, run] : loaded.runs) {
    const v1::RunState run_state = run.record.state();
    if (run.record.result_publish() != 0 && run_state != v1::RUN_STATE_CANCELLED) {
      CheckManifest(store, {run_id, v1::STAGE_END_TO_END, 0, run.record.result_publish()}, loaded);
    }
    if (run_state == v1::RUN_STATE_SUCCEEDED || run_state == v1::RUN_STATE_CANCELLED) continue;
    for (const auto& [id, task] : run.tasks) {
      if (task.last_publish() == 0) continue;
      CheckManifest(store, {run_id, id.stage, id.layer, task.last_publish()}, loaded);
    }
  }
}

void Oracle::OnOrchestratorUp(int64_t grace_until_ms) { grace_until_ms_ = grace_until_ms; }

void Oracle::OnStepBegins(const std::string& worker, uint64_t token) {
  const int64_t until_ms = LastsUntilMs(token);
  if (world_.now_ms() >= until_ms) {
    world_.Violation(worker, " begins a step under token ", token, " though its lease has been over since ",
                     until_ms);
  }
}

}  // namespace retort::sim
