#include "orchestrator/state/state.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/check.h"
#include "orchestrator/state/gang.h"

namespace retort::orchestrator {
namespace {

// Asks again what the run's state had asked of its holders before the restart.
std::optional<Yield> YieldAfterRestart(const Run& run, const Lease& lease) {
  switch (run.record.state()) {
    case v1::RUN_STATE_PAUSING:
      return Yield{v1::END_CAUSE_PAUSED, HeldLayers(run, lease), run.record.reason(), std::nullopt};
    case v1::RUN_STATE_FAILED:
      return Yield{v1::END_CAUSE_RUN_FAILED, HeldLayers(run, lease), run.record.reason(), std::nullopt};
    default:
      return std::nullopt;
  }
}

}  // namespace

const Run& State::run(uint64_t run_id) const {
  const auto found = runs.find(run_id);
  RETORT_CHECK(found != runs.end()) << "run " << run_id;
  return found->second;
}

const v1::TaskRecord* State::FindTask(uint64_t run_id, TaskId id) const {
  const auto run = runs.find(run_id);
  if (run == runs.end()) return nullptr;
  const auto task = run->second.tasks.find(id);
  return task == run->second.tasks.end() ? nullptr : &task->second;
}

const Lease* State::FindLease(uint64_t token) const {
  const auto found = leases.find(token);
  return found == leases.end() ? nullptr : &found->second;
}

const Lease* State::LeaseOf(uint64_t worker_id) const {
  const auto found = lease_of_worker.find(worker_id);
  return found == lease_of_worker.end() ? nullptr : FindLease(found->second);
}

const Worker* State::FindWorker(uint64_t worker_id) const {
  const auto found = workers.find(worker_id);
  return found == workers.end() ? nullptr : &found->second;
}

State LoadState(const Moment& now, const Options& options, StoredRecords records) {
  State state;
  state.epoch = records.meta.epoch();
  state.next_run_id = std::max<uint64_t>(1, records.meta.next_run_id());
  state.next_token = std::max<uint64_t>(1, records.meta.next_token());
  for (v1::RunRecord& run : records.runs) {
    const uint64_t run_id = run.run_id();
    state.runs[run_id].record = std::move(run);
  }
  for (v1::TaskRecord& task : records.tasks) {
    RETORT_CHECK(state.runs.count(task.run_id()) != 0) << "task of run " << task.run_id();
    if (task.token() != 0) state.rows_of_token[task.token()] = {task.run_id(), task.stage()};
    state.runs[task.run_id()].tasks.emplace(IdOf(task), std::move(task));
  }
  for (v1::LeaseRecord& record : records.leases) {
    Lease& lease = state.leases[record.token()];
    lease.record = std::move(record);
    lease.deadline_steady_ms = now.steady_ms + options.lease_ttl_ms;
    lease.heartbeat_seen = true;  // not known any more; the common case
    state.lease_of_worker[lease.record.worker_id()] = lease.record.token();
  }
  for (v1::AttemptRecord& attempt : records.attempts) {
    const auto lease = state.leases.find(attempt.token());
    if (lease != state.leases.end()) lease->second.attempt = std::move(attempt);
  }
  for (auto& [token, lease] : state.leases) {
    lease.yield = YieldAfterRestart(state.run(lease.record.run_id()), lease);
  }
  AskSurvivorsAgain(state);
  for (auto& [id, request] : records.requests) state.requests[id] = std::move(request);
  return state;
}

std::string DebugString(const State& state) {
  std::string text = absl::StrCat("epoch ", state.epoch, ", next token ", state.next_token, "\n");
  for (const auto& [run_id, run] : state.runs) {
    absl::StrAppend(&text, "run ", run_id, " ", run.record.job().name(), " ",
                    v1::RunState_Name(run.record.state()), ":");
    for (const auto& [id, task] : run.tasks) {
      absl::StrAppend(&text, " ", static_cast<int>(id.stage), "/", id.layer, "=",
                      v1::TaskState_Name(task.state()).substr(sizeof("TASK_STATE_") - 1), "@", task.step(),
                      "/", task.total_steps(), "#", task.token());
    }
    absl::StrAppend(&text, "\n");
  }
  for (const auto& [token, lease] : state.leases) {
    absl::StrAppend(&text, "lease ", token, ": run ", lease.record.run_id(), " stage ", lease.record.stage(),
                    " layers ", lease.record.first_layer(), "+", lease.record.layer_count(), " of ",
                    lease.record.worker_name(), " until ", lease.deadline_steady_ms, " ms");
    if (lease.yield) absl::StrAppend(&text, ", yields ", LayersText(lease.yield->layers));
    absl::StrAppend(&text, "\n");
  }
  for (const auto& [id, worker] : state.workers) {
    absl::StrAppend(&text, "worker ", worker.name(), " (", absl::Hex(id), "), ", worker.speed_gflops(),
                    " Gflop/s, heard at ", worker.last_heartbeat_steady_ms, " ms",
                    worker.draining ? ", draining" : "");
    const auto target = state.placement.targets.find(id);
    if (target != state.placement.targets.end()) {
      absl::StrAppend(&text, ", for run ", target->second.run_id, " ", target->second.first_layer, " to ",
                      target->second.last_layer);
    }
    absl::StrAppend(&text, "\n");
  }
  return text;
}

const InputRefusal* FindRefusal(const Moment& now, const Run& run, uint64_t worker_id) {
  const auto found = run.refusals.find(worker_id);
  const bool stands = found != run.refusals.end() && now.steady_ms < found->second.until_steady_ms;
  return stands ? &found->second : nullptr;
}

bool IsEnded(v1::RunState state) {
  return state == v1::RUN_STATE_SUCCEEDED || state == v1::RUN_STATE_CANCELLED ||
         state == v1::RUN_STATE_FAILED;
}

std::string NameOf(const v1::RunRecord& run) {
  return absl::StrCat(run.job().name(), " (run ", run.run_id(), ")");
}

std::string LayersText(const std::vector<uint32_t>& layers) {
  if (layers.empty()) return "no layer";
  if (layers.size() == 1) return absl::StrCat("layer ", layers[0]);
  if (layers.back() - layers.front() + 1 == layers.size()) {
    return absl::StrCat("layers ", layers.front(), " to ", layers.back());
  }
  return absl::StrCat("layers ", absl::StrJoin(layers, ", "));
}

std::vector<uint32_t> HeldLayers(const Run& run, const Lease& lease) {
  std::vector<uint32_t> layers;
  const v1::LeaseRecord& record = lease.record;
  for (auto task = run.tasks.lower_bound({record.stage(), record.first_layer()});
       task != run.tasks.end() && task->first.stage == record.stage() &&
       task->first.layer < record.first_layer() + record.layer_count();
       ++task) {
    const bool held = task->second.state() == v1::TASK_STATE_LEASED && task->second.token() == record.token();
    if (held) layers.push_back(task->first.layer);
  }
  return layers;
}

}  // namespace retort::orchestrator
