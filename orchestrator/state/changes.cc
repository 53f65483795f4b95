#include "orchestrator/state/changes.h"

#include "core/base/check.h"

namespace retort::orchestrator {
namespace {

void RemoveLease(uint64_t token, State& state) {
  const auto lease = state.leases.find(token);
  RETORT_CHECK(lease != state.leases.end()) << "lease " << token;
  state.lease_of_worker.erase(lease->second.record.worker_id());
  state.leases.erase(lease);
}

void ForgetRefusalsOf(uint64_t worker_id, State& state) {
  for (auto& [run_id, run] : state.runs) run.refusals.erase(worker_id);
}

void RemoveWorker(uint64_t worker_id, State& state) {
  const auto worker = state.workers.find(worker_id);
  RETORT_CHECK(worker != state.workers.end()) << "worker " << worker_id;
  const auto named = state.worker_named.find(worker->second.name());
  if (named != state.worker_named.end() && named->second == worker_id) state.worker_named.erase(named);
  state.workers.erase(worker);
  ForgetRefusalsOf(worker_id, state);
}

void RemoveRun(uint64_t run_id, State& state) {
  RETORT_CHECK(state.runs.erase(run_id) == 1) << "run " << run_id;
  std::erase_if(state.rows_of_token, [&](const auto& rows) { return rows.second.run_id == run_id; });
  // The last plan may be of before the run ended.
  std::erase_if(state.placement.targets, [&](const auto& target) { return target.second.run_id == run_id; });
  state.placement.run_reason.erase(run_id);
  state.placement.short_gangs.erase(run_id);
}

}  // namespace

bool Changes::is_durable() const {
  return !(runs.empty() && tasks.empty() && leases.empty() && attempts.empty() && requests.empty() &&
           events.empty() && ended_leases.empty() && old_requests.empty() && deleted_runs.empty() &&
           deleted_tasks.empty() && next_run_id == 0 && next_token == 0);
}

void Apply(const Changes& changes, State& state) {
  for (const v1::RunRecord& run : changes.runs) state.runs[run.run_id()].record = run;
  for (const v1::TaskRecord& task : changes.tasks) {
    state.runs[task.run_id()].tasks[IdOf(task)] = task;
    if (task.token() != 0) state.rows_of_token[task.token()] = {task.run_id(), task.stage()};
  }
  for (const auto& [run_id, id] : changes.deleted_tasks) state.runs[run_id].tasks.erase(id);
  for (const uint64_t token : changes.ended_leases) RemoveLease(token, state);
  for (const Lease& lease : changes.lease_states) {
    state.leases[lease.record.token()] = lease;
    state.lease_of_worker[lease.record.worker_id()] = lease.record.token();
  }
  for (const uint64_t run_id : changes.deleted_runs) RemoveRun(run_id, state);
  for (const auto& [id, request] : changes.requests) state.requests[id] = request;
  for (const std::string& id : changes.old_requests) state.requests.erase(id);
  for (const uint64_t worker_id : changes.removed_workers) RemoveWorker(worker_id, state);
  for (const auto& [worker_id, name] : changes.superseded) state.superseded[worker_id] = name;
  for (const Worker& worker : changes.workers) {
    state.workers[worker.id()] = worker;
    state.worker_named[worker.name()] = worker.id();
  }
  for (const uint64_t run_id : changes.asked_again_runs) state.runs[run_id].refusals.clear();
  for (const uint64_t worker_id : changes.asked_again_workers) ForgetRefusalsOf(worker_id, state);
  for (const Refusal& refusal : changes.refusals) {
    state.runs[refusal.run_id].refusals[refusal.worker_id] = refusal.refusal;
  }
  for (const uint64_t run_id : changes.recut_runs) {
    state.runs[run_id].last_recut_steady_ms = changes.steady_ms;
  }
  for (const GangChange& change : changes.gangs) state.runs[change.run_id].gang = change.gang;
  if (changes.next_run_id != 0) state.next_run_id = changes.next_run_id;
  if (changes.next_token != 0) state.next_token = changes.next_token;
  if (changes.placement) {
    state.placement = *changes.placement;
    state.placement_stale = false;
  }
  if (changes.placement_stale) state.placement_stale = true;
}

void KeepRenewals(const State& state, Changes& changes) {
  RETORT_CHECK(changes.ended_leases.empty() && changes.removed_workers.empty());
  for (Lease& lease : changes.lease_states) {
    const Lease* const now = state.FindLease(lease.record.token());
    if (now == nullptr) continue;
    lease.deadline_steady_ms = now->deadline_steady_ms;
    lease.heartbeat_seen = now->heartbeat_seen;
    lease.progress = now->progress;
  }
  for (Worker& worker : changes.workers) {
    const Worker* const now = state.FindWorker(worker.id());
    if (now != nullptr) worker.last_heartbeat_steady_ms = now->last_heartbeat_steady_ms;
  }
}

}  // namespace retort::orchestrator
