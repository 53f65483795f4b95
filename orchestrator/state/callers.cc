#include "orchestrator/state/callers.h"

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"

namespace retort::orchestrator {
namespace {

// The first layer that the claim does not hold; nullopt: it holds all.
std::optional<uint32_t> FirstNotHeld(const Draft& draft, const TokenClaim& claim, const Lease* lease) {
  for (const uint32_t layer : claim.layers) {
    if (lease == nullptr || lease->record.worker_id() != claim.worker_id) return layer;
    const v1::TaskRecord* const task =
        draft.state().FindTask(lease->record.run_id(), {lease->record.stage(), layer});
    const bool held =
        task != nullptr && task->state() == v1::TASK_STATE_LEASED && task->token() == claim.token;
    if (!held) return layer;
  }
  return std::nullopt;
}

// Adds the event of a refused write, if rows bear the token; returns how `layer`, or the lease, stands
// instead. `why`: more of it for the event's text.
std::string RecordStaleWrite(Draft& draft, const TokenClaim& claim, std::optional<uint32_t> layer,
                             absl::string_view why) {
  const State& state = draft.state();
  const auto rows = state.rows_of_token.find(claim.token);
  if (rows == state.rows_of_token.end()) return "no row bears it";
  std::string where = "its lease has ended";
  if (layer) {
    const v1::TaskRecord* const task = state.FindTask(rows->second.run_id, {rows->second.stage, *layer});
    where = task == nullptr
                ? absl::StrCat("layer ", *layer, " has no task in ", StageName(rows->second.stage))
                : absl::StrCat("layer ", *layer, " is ",
                               v1::TaskState_Name(task->state()).substr(sizeof("TASK_STATE_") - 1),
                               " under token ", task->token());
  }
  v1::EventRecord& event = draft.AddEvent(v1::EVENT_KIND_STALE_WRITE_REFUSED);
  event.set_run_id(rows->second.run_id);
  event.set_stage(rows->second.stage);
  event.mutable_layers()->Add(claim.layers.begin(), claim.layers.end());
  event.set_token(claim.token);
  const Worker* const worker = state.FindWorker(claim.worker_id);
  if (worker != nullptr) event.set_worker_name(worker->name());
  event.set_text(absl::StrCat(claim.call, ": ", where, why.empty() ? "" : "; ", why));
  return where;
}

}  // namespace

bool IsRowDoneUnder(const State& state, uint64_t token, uint32_t layer) {
  const auto rows = state.rows_of_token.find(token);
  if (rows == state.rows_of_token.end()) return false;
  const v1::TaskRecord* const task = state.FindTask(rows->second.run_id, {rows->second.stage, layer});
  return task != nullptr && task->state() == v1::TASK_STATE_DONE && task->token() == token;
}

bool IsSuperseded(const State& state, uint64_t presented_epoch) { return presented_epoch > state.epoch; }

absl::Status CheckCaller(const State& state, uint64_t worker_id, uint64_t presented_epoch) {
  if (IsSuperseded(state, presented_epoch)) {
    return absl::UnavailableError(absl::StrCat("epoch ", presented_epoch,
                                               " was presented to the orchestrator of epoch ", state.epoch,
                                               ": a later one has taken the store; repeat the call"));
  }
  if (presented_epoch != state.epoch) {
    return absl::AbortedError(absl::StrCat("epoch ", presented_epoch,
                                           " was presented, the orchestrator is at epoch ", state.epoch,
                                           ": register again"));
  }
  if (state.FindWorker(worker_id) == nullptr) {
    return absl::AbortedError(
        absl::StrCat("worker ", absl::Hex(worker_id), " is not registered: register again"));
  }
  return absl::OkStatus();
}

absl::Status CheckWriter(Draft& draft, const TokenClaim& claim, uint64_t presented_epoch) {
  absl::Status status = CheckCaller(draft.state(), claim.worker_id, presented_epoch);
  if (!absl::IsAborted(status)) return status;
  const uint64_t epoch = draft.state().epoch;
  CountIfStale(draft, claim,
               presented_epoch == epoch
                   ? std::string("the worker is not registered")
                   : absl::StrCat("epoch ", presented_epoch, " was presented, now it is ", epoch));
  return status;
}

void CountIfStale(Draft& draft, const TokenClaim& claim, absl::string_view why) {
  const State& state = draft.state();
  const Lease* const lease = state.LeaseOf(claim.worker_id);
  const bool stands = lease != nullptr && lease->record.token() == claim.token;
  const bool is_repetition =
      !claim.layers.empty() && std::all_of(claim.layers.begin(), claim.layers.end(), [&](uint32_t layer) {
        return IsRowDoneUnder(state, claim.token, layer);
      });
  if (!stands && !is_repetition) RecordStaleWrite(draft, claim, FirstNotHeld(draft, claim, nullptr), why);
}

absl::Status CheckToken(Draft& draft, const TokenClaim& claim) {
  if (claim.layers.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(claim.call, " names no layers"));
  }
  const std::optional<uint32_t> stale = FirstNotHeld(draft, claim, draft.state().FindLease(claim.token));
  if (!stale) return absl::OkStatus();
  const std::string where = RecordStaleWrite(draft, claim, stale, "");
  return absl::AbortedError(absl::StrCat(claim.call, " under token ", claim.token, " is stale: ", where,
                                         "; heartbeat, and obey the verdict"));
}

bool IsRequestId(absl::string_view id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), absl::ascii_isprint);
}

std::string RequestSha256(const std::string& method, const google::protobuf::MessageLite& request) {
  return absl::HexStringToBytes(Sha256Hex(absl::StrCat(method, "\n", request.SerializeAsString())));
}

}  // namespace retort::orchestrator
