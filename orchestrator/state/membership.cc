#include "orchestrator/state/membership.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/name.h"
#include "orchestrator/state/callers.h"
#include "orchestrator/state/draft.h"
#include "orchestrator/state/gang.h"
#include "orchestrator/state/lease_end.h"
#include "orchestrator/state/replan.h"

namespace retort::orchestrator {
namespace {

constexpr uint32_t kProtocol = 1;

absl::Status CheckRegistration(const State& state, const v1::RegisterRequest& request) {
  if (request.protocol_version() != kProtocol) {
    return absl::FailedPreconditionError(
        absl::StrCat("worker ", request.name(), " speaks protocol ", request.protocol_version(),
                     ", the orchestrator ", kProtocol, " to ", kProtocol, ": use binaries of one release"));
  }
  if (!IsName(request.name())) {
    return absl::InvalidArgumentError(absl::StrCat("worker name '", request.name(), "' is not ", kNameRule));
  }
  const v1::Capabilities& has = request.capabilities();
  if (request.worker_id() == 0 || has.device() == v1::DEVICE_KIND_UNSPECIFIED ||
      has.compute_path() == v1::COMPUTE_PATH_UNSPECIFIED || has.threads() == 0 || has.memory_bytes() == 0 ||
      !(has.measured_gflops() > 0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "worker ", request.name(),
        " registers without worker_id, device, compute_path, threads, memory_bytes or measured_gflops"));
  }
  const auto taken = state.superseded.find(request.worker_id());
  if (taken != state.superseded.end()) {
    return absl::FailedPreconditionError(absl::StrCat("another process has registered as ", taken->second,
                                                      " since: exit, or take another name"));
  }
  return absl::OkStatus();
}

// Ends the leases and registrations under the name that are not the request's own.
void ReplaceNamesakes(Draft& draft, const v1::RegisterRequest& request) {
  const State& state = draft.state();
  const std::string why = absl::StrCat("another process registered as ", request.name());
  for (const auto& [token, lease] : state.leases) {
    const v1::LeaseRecord& record = lease.record;
    if (record.worker_name() != request.name() || record.worker_id() == request.worker_id()) continue;
    EndLease(draft, token, {v1::END_CAUSE_INFRASTRUCTURE, why});
    draft.Supersede(record.worker_id(), request.name());
  }
  const auto namesake = state.worker_named.find(request.name());
  if (namesake == state.worker_named.end() || namesake->second == request.worker_id()) return;
  draft.RemoveWorker(namesake->second);
  draft.Supersede(namesake->second, request.name());
  v1::EventRecord& event = draft.AddEvent(v1::EVENT_KIND_WORKER_LOST);
  event.set_worker_name(request.name());
  event.set_text(why);
}

void SweepLease(Draft& draft, uint64_t token) {
  const Lease& lease = *draft.FindLease(token);
  const v1::RunState run_state = draft.run(lease.record.run_id()).state();
  const int64_t now_ms = draft.now().steady_ms;
  if (lease.deadline_steady_ms <= now_ms) {
    const std::string why = absl::StrCat("lease of ", lease.record.worker_name(), " expired: no renewal for ",
                                         draft.options().lease_ttl_ms, " ms");
    if (run_state == v1::RUN_STATE_CANCELLING) {
      EndLease(draft, token, {v1::END_CAUSE_CANCELLED, why});
    } else if (lease.heartbeat_seen) {
      EndLease(draft, token, {v1::END_CAUSE_INFRASTRUCTURE, why});
    } else {
      EndLease(draft, token,
               {v1::END_CAUSE_INFRASTRUCTURE, absl::StrCat(why, "; it never began, so no attempt is lost"),
                /*is_free=*/true});
    }
    return;
  }
  if (!lease.yield || !lease.yield->deadline_steady_ms || *lease.yield->deadline_steady_ms > now_ms) return;
  const Yield yield = *lease.yield;
  EndRows(draft, token, yield.layers,
          {yield.cause, absl::StrCat(lease.record.worker_name(), " did not give ", LayersText(yield.layers),
                                     " back within ", draft.options().yield_within_ms, " ms")});
}

// A silent worker is lost once its lease, which may have been granted after the last heartbeat, is over.
int64_t LostSteadyMs(const Worker& worker, const Lease* lease, const Options& options) {
  const int64_t silent_ms = worker.last_heartbeat_steady_ms + options.lease_ttl_ms;
  return lease == nullptr ? silent_ms : std::max(silent_ms, lease->deadline_steady_ms);
}

void LoseWorker(Draft& draft, const Worker& worker) {
  v1::EventRecord& event = draft.AddEvent(v1::EVENT_KIND_WORKER_LOST);
  event.set_worker_name(worker.name());
  event.set_text(absl::StrCat("silent for ", draft.now().steady_ms - worker.last_heartbeat_steady_ms, " ms"));
  draft.RemoveWorker(worker.id());
}

}  // namespace

Decision<v1::RegisterReply> DecideRegister(const Moment& now, const State& state, const Options& options,
                                           const v1::RegisterRequest& request) {
  Decision<v1::RegisterReply> decision;
  decision.status = CheckRegistration(state, request);
  if (!decision.status.ok()) return decision;
  Draft draft(now, state, options);
  ReplaceNamesakes(draft, request);
  const Worker* const known = draft.FindWorker(request.worker_id());
  Worker& worker =
      known != nullptr ? draft.EditWorker(request.worker_id()) : draft.AddWorker(request.worker_id());
  if (known == nullptr) {
    worker.registered_unix_ms = now.unix_ms;
    v1::EventRecord& event = draft.AddEvent(v1::EVENT_KIND_WORKER_REGISTERED);
    event.set_worker_name(request.name());
    event.set_text(absl::StrFormat("%d workers; this one: %.4g Gflop/s, %u threads", state.workers.size() + 1,
                                   request.capabilities().measured_gflops(),
                                   request.capabilities().threads()));
    decision.reason = absl::StrCat("worker ", request.name(), " is new");
  } else {
    decision.reason = absl::StrCat("worker ", request.name(), " registered again");
  }
  draft.ForgetRefusalsOfWorker(request.worker_id());
  worker.registration = request;
  worker.last_heartbeat_steady_ms = now.steady_ms;
  decision.reply.set_epoch(state.epoch);
  decision.reply.set_heartbeat_interval_ms(static_cast<uint32_t>(options.heartbeat_interval_ms));
  decision.reply.set_lease_ttl_ms(static_cast<uint32_t>(options.lease_ttl_ms));
  decision.reply.set_lease_margin_ms(static_cast<uint32_t>(options.lease_margin_ms));
  decision.changes = draft.Finish();
  return decision;
}

Decision<v1::LeaveReply> DecideLeave(const Moment& now, const State& state, const Options& options,
                                     const v1::LeaveRequest& request) {
  Decision<v1::LeaveReply> decision;
  if (IsSuperseded(state, request.epoch())) {
    decision.status = CheckCaller(state, request.worker_id(), request.epoch());
    return decision;
  }
  Draft draft(now, state, options);
  const Lease* const lease = state.LeaseOf(request.worker_id());
  if (lease != nullptr) {
    EndLease(draft, lease->record.token(),
             {v1::END_CAUSE_PREEMPTION, absl::StrCat(lease->record.worker_name(), " left")});
  }
  const Worker* const worker = state.FindWorker(request.worker_id());
  if (worker != nullptr) {
    v1::EventRecord& event = draft.AddEvent(v1::EVENT_KIND_WORKER_LEFT);
    event.set_worker_name(worker->name());
    draft.RemoveWorker(request.worker_id());
    decision.reason = absl::StrCat(worker->name(), " left, ", state.workers.size() - 1, " workers remain");
  }
  decision.changes = draft.Finish();
  return decision;
}

Decision<NoReply> DecideSweep(const Moment& now, const State& state, const Options& options) {
  Draft draft(now, state, options);
  for (const auto& [token, lease] : state.leases) SweepLease(draft, token);
  for (const auto& [id, worker] : state.workers) {
    if (LostSteadyMs(worker, draft.LeaseOf(id), options) <= now.steady_ms) LoseWorker(draft, worker);
  }
  const std::vector<std::string> fixed = FixRanksAnew(draft);
  for (const auto& [id, request] : state.requests) {
    if (request.created_unix_ms() + options.request_keep_ms <= now.unix_ms) draft.DropRequest(id);
  }
  Decision<NoReply> decision;
  decision.changes = draft.Finish();
  if (decision.changes.is_durable()) {
    decision.reason = absl::StrCat("sweep: ", decision.changes.ended_leases.size(), " leases ended, ",
                                   decision.changes.removed_workers.size(), " workers lost");
    for (const std::string& sentence : fixed) absl::StrAppend(&decision.reason, "; ", sentence);
  }
  return decision;
}

int64_t NextDueSteadyMs(const Moment& now, const State& state, const Options& options) {
  int64_t due_ms = NextReplanSteadyMs(now, state, options);
  for (const auto& [token, lease] : state.leases) {
    due_ms = std::min(due_ms, lease.deadline_steady_ms);
    if (lease.yield && lease.yield->deadline_steady_ms) {
      due_ms = std::min(due_ms, *lease.yield->deadline_steady_ms);
    }
  }
  for (const auto& [id, worker] : state.workers) {
    due_ms = std::min(due_ms, LostSteadyMs(worker, state.LeaseOf(id), options));
  }
  for (const auto& [run_id, gang] : state.placement.short_gangs) {
    const int64_t over_ms = gang.since_steady_ms + options.gang_patience_ms;
    if (over_ms > now.steady_ms) due_ms = std::min(due_ms, over_ms);
  }
  return std::max(due_ms, now.steady_ms + 1);
}

}  // namespace retort::orchestrator
