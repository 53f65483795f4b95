#include "orchestrator/state/invariants.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"

namespace retort::orchestrator {
namespace {

class Findings {
 public:
  template <class... Parts>
  void Unless(bool holds, const Parts&... parts) {
    if (!holds) texts_.push_back(absl::StrCat(parts...));
  }
  std::vector<std::string> Take() { return std::move(texts_); }

 private:
  std::vector<std::string> texts_;
};

std::string RowName(uint64_t run_id, TaskId id) {
  return absl::StrCat("run ", run_id, " ", StageName(id.stage), " layer ", id.layer);
}

// Of END_TO_END, which a rank that is held has reported.
bool HasUnpublishedStep(const State& state, uint64_t run_id) {
  return std::any_of(state.leases.begin(), state.leases.end(), [&](const auto& entry) {
    const Lease& lease = entry.second;
    const auto& reported = lease.progress.layers();
    return lease.record.run_id() == run_id && lease.record.stage() == v1::STAGE_END_TO_END &&
           std::any_of(reported.begin(), reported.end(),
                       [](const v1::LayerProgress& rank) { return rank.step() > 0; });
  });
}

bool IsTraining(v1::Stage stage) { return stage != v1::STAGE_PREPARE; }

void CheckRow(const State& state, const Run& run, const v1::TaskRecord& task, Findings& findings) {
  const std::string name = RowName(task.run_id(), IdOf(task));
  findings.Unless(task.step() <= task.total_steps(), name, " is at step ", task.step(), " of ",
                  task.total_steps());
  findings.Unless(task.token() < state.next_token, name, " has token ", task.token(), " of the future");
  findings.Unless(task.state() != v1::TASK_STATE_DONE || task.step() == task.total_steps(), name,
                  " is DONE at step ", task.step());
  findings.Unless(task.token() == 0 || !IsTraining(task.stage()) || run.record.has_numerics(), name,
                  " was granted without numerics");
  if (task.state() != v1::TASK_STATE_LEASED) return;
  const Lease* const lease = state.FindLease(task.token());
  findings.Unless(lease != nullptr, name, " is LEASED under token ", task.token(), ", which has no lease");
  if (lease == nullptr) return;
  const v1::LeaseRecord& record = lease->record;
  findings.Unless(record.run_id() == task.run_id() && record.stage() == task.stage() &&
                      record.first_layer() <= task.layer() &&
                      task.layer() < record.first_layer() + record.layer_count(),
                  name, " is outside its lease ", task.token());
}

// A row is granted only when what it needs is DONE.
void CheckNeeds(const Run& run, const v1::TaskRecord& task, Findings& findings) {
  if (task.token() == 0) return;
  const std::string name = RowName(task.run_id(), IdOf(task));
  if (task.stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT) {
    const auto before = run.tasks.find({v1::STAGE_MATRIX_ORIENTATION, task.layer()});
    findings.Unless(before == run.tasks.end() || before->second.state() == v1::TASK_STATE_DONE, name,
                    " was granted before its stage 1 was done");
  } else if (task.stage() == v1::STAGE_END_TO_END) {
    for (const auto& [id, other] : run.tasks) {
      findings.Unless(id.stage == v1::STAGE_END_TO_END || other.state() == v1::TASK_STATE_DONE, name,
                      " was granted before ", RowName(task.run_id(), id));
    }
  }
}

void CheckRun(const State& state, const Run& run, size_t leases, Findings& findings) {
  const v1::RunState run_state = run.record.state();
  const std::string name = NameOf(run.record);
  size_t failed = 0, done = 0;
  for (const auto& [id, task] : run.tasks) {
    CheckRow(state, run, task, findings);
    CheckNeeds(run, task, findings);
    failed += task.state() == v1::TASK_STATE_FAILED;
    done += task.state() == v1::TASK_STATE_DONE;
  }
  const bool may_hold = run_state == v1::RUN_STATE_RUNNING || run_state == v1::RUN_STATE_PAUSING ||
                        run_state == v1::RUN_STATE_CANCELLING || run_state == v1::RUN_STATE_FAILED;
  findings.Unless(leases == 0 || may_hold, name, " is ", v1::RunState_Name(run_state), " with ", leases,
                  " leases");
  findings.Unless(leases > 0 || (run_state != v1::RUN_STATE_PAUSING && run_state != v1::RUN_STATE_CANCELLING),
                  name, " is ", v1::RunState_Name(run_state), " without leases");
  findings.Unless(run_state != v1::RUN_STATE_SUCCEEDED || done == run.tasks.size(), name, " SUCCEEDED with ",
                  done, " of ", run.tasks.size(), " tasks done");
  findings.Unless(run_state != v1::RUN_STATE_SUCCEEDED || run.record.result_publish() != 0, name,
                  " SUCCEEDED without a result");
  findings.Unless(failed == 0 || run_state == v1::RUN_STATE_FAILED || run_state == v1::RUN_STATE_CANCELLING ||
                      run_state == v1::RUN_STATE_CANCELLED,
                  name, " is ", v1::RunState_Name(run_state), " with ", failed, " failed tasks");
  findings.Unless(run_state != v1::RUN_STATE_FAILED || failed > 0, name, " FAILED without a failed task");
  findings.Unless(IsEnded(run_state) == (run.record.finished_unix_ms() != 0), name,
                  " ended, or not, without a time");
  const auto ranks =
      static_cast<size_t>(std::count_if(run.tasks.begin(), run.tasks.end(), [](const auto& row) {
        return row.first.stage == v1::STAGE_END_TO_END;
      }));
  findings.Unless(ranks == std::max<size_t>(run.record.world_size(), run.record.has_shape()), name, " has ",
                  ranks, " ranks, and world_size ", run.record.world_size());
  findings.Unless(run.record.has_shape() == (run.tasks.count(kEndToEnd) != 0), name,
                  " has a shape without tasks, or the reverse");
}

void CheckYield(const Lease& lease, const std::vector<uint32_t>& held, Findings& findings) {
  if (!lease.yield) return;
  const std::vector<uint32_t>& asked = lease.yield->layers;
  findings.Unless(!asked.empty() && std::includes(held.begin(), held.end(), asked.begin(), asked.end()),
                  "lease ", lease.record.token(), " is asked for layers that it does not hold");
  std::vector<uint32_t> rest;
  std::set_difference(held.begin(), held.end(), asked.begin(), asked.end(), std::back_inserter(rest));
  for (const uint32_t layer : asked) {
    findings.Unless(rest.empty() || layer < rest.front() || layer > rest.back(), "lease ",
                    lease.record.token(), " is asked for layer ", layer, " from its middle");
  }
}

void CheckLease(const State& state, const Lease& lease, Findings& findings) {
  const v1::LeaseRecord& record = lease.record;
  const std::string name = absl::StrCat("lease ", record.token());
  const auto run = state.runs.find(record.run_id());
  findings.Unless(run != state.runs.end(), name, " is of a run that is not there");
  if (run == state.runs.end()) return;
  const std::vector<uint32_t> held = HeldLayers(run->second, lease);
  findings.Unless(!held.empty(), name, " holds no row");
  findings.Unless(record.token() < state.next_token, name, " is of the future");
  for (const auto& [id, task] : run->second.tasks) {
    const bool inside = id.stage == record.stage() && record.first_layer() <= id.layer &&
                        id.layer < record.first_layer() + record.layer_count();
    const bool own = task.token() == record.token() &&
                     (task.state() == v1::TASK_STATE_LEASED || task.state() == v1::TASK_STATE_DONE);
    findings.Unless(!inside || own, name, " spans ", RowName(record.run_id(), id), ", which is not its own");
  }
  CheckYield(lease, held, findings);
  const auto index = state.lease_of_worker.find(record.worker_id());
  findings.Unless(index != state.lease_of_worker.end() && index->second == record.token(), name,
                  " is not the one that its worker is known by");
  std::vector<uint32_t> attempted;
  for (const v1::AttemptLayer& layer : lease.attempt.layers()) {
    if (layer.cause() == v1::END_CAUSE_UNSPECIFIED) attempted.push_back(layer.layer());
  }
  findings.Unless(attempted == held, name, " and its attempt disagree about what is held");
}

}  // namespace

std::vector<std::string> CheckInvariants(const State& state) {
  Findings findings;
  std::map<uint64_t, size_t> leases_of_run;
  std::set<uint64_t> holders;
  for (const auto& [token, lease] : state.leases) {
    CheckLease(state, lease, findings);
    ++leases_of_run[lease.record.run_id()];
    findings.Unless(holders.insert(lease.record.worker_id()).second, "worker ", lease.record.worker_name(),
                    " holds two leases");
  }
  findings.Unless(state.lease_of_worker.size() == state.leases.size(), "holders are known that hold nothing");
  std::map<std::string, uint64_t> unended;
  for (const auto& [run_id, run] : state.runs) {
    CheckRun(state, run, leases_of_run[run_id], findings);
    findings.Unless(run_id < state.next_run_id, "run ", run_id, " is of the future");
    if (IsEnded(run.record.state())) continue;
    findings.Unless(unended.emplace(run.record.job().name(), run_id).second,
                    "two runs that have not ended are named ", run.record.job().name());
  }
  findings.Unless(state.worker_named.size() == state.workers.size(), "two workers have one name");
  for (const auto& [token, rows] : state.rows_of_token) {
    findings.Unless(state.runs.count(rows.run_id) != 0, "token ", token, " is of a run that is not there");
  }
  for (const auto& [worker_id, target] : state.placement.targets) {
    findings.Unless(state.runs.count(target.run_id) != 0, "a worker is planned for run ", target.run_id,
                    ", which is not there");
  }
  return findings.Take();
}

std::vector<std::string> CheckProgress(const State& before, const State& after) {
  Findings findings;
  findings.Unless(before.next_token <= after.next_token && before.next_run_id <= after.next_run_id,
                  "numbers were given back");
  for (const auto& [run_id, run] : before.runs) {
    const auto later = after.runs.find(run_id);
    const bool may_go = IsEnded(run.record.state());
    findings.Unless(later != after.runs.end() || may_go, "run ", run_id, " has gone");
    if (later == after.runs.end()) continue;
    findings.Unless(run.record.identity_sha256().empty() ||
                        run.record.identity_sha256() == later->second.record.identity_sha256(),
                    "run ", run_id, " changed its identity");
    const uint32_t had = run.record.world_size();
    const bool has_changed = had != 0 && had != later->second.record.world_size();
    findings.Unless(
        !has_changed || (run.tasks.at(kEndToEnd).step() == 0 && !HasUnpublishedStep(after, run_id)), "run ",
        run_id, " changed its number of ranks after a step");
    for (const auto& [id, task] : run.tasks) {
      const v1::TaskRecord* const now = after.FindTask(run_id, id);
      const std::string name = RowName(run_id, id);
      const bool is_dropped = id.stage == v1::STAGE_END_TO_END && id.layer > 0 &&
                              id.layer >= later->second.record.world_size() &&
                              task.state() != v1::TASK_STATE_DONE;
      findings.Unless(now != nullptr || is_dropped, name, " has gone");
      if (now == nullptr) continue;
      findings.Unless(task.step() <= now->step(), name, " fell from step ", task.step(), " to ", now->step());
      findings.Unless(task.token() <= now->token(), name, " fell from token ", task.token(), " to ",
                      now->token());
      findings.Unless(task.state() != v1::TASK_STATE_DONE || now->state() == v1::TASK_STATE_DONE, name,
                      " was DONE");
    }
  }
  return findings.Take();
}

}  // namespace retort::orchestrator
