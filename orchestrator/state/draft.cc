#include "orchestrator/state/draft.h"

#include <algorithm>
#include <utility>

#include "core/base/check.h"

namespace retort::orchestrator {

Draft::Draft(const Moment& now, const State& state, const Options& options)
    : now_(now),
      state_(state),
      options_(options),
      next_run_id_(state.next_run_id),
      next_token_(state.next_token) {}

const v1::RunRecord& Draft::run(uint64_t run_id) const {
  const auto edited = runs_.find(run_id);
  return edited != runs_.end() ? edited->second : state_.run(run_id).record;
}

v1::RunRecord& Draft::EditRun(uint64_t run_id) {
  const auto edited = runs_.find(run_id);
  return edited != runs_.end() ? edited->second : runs_[run_id] = state_.run(run_id).record;
}

v1::RunRecord& Draft::AddRun() {
  const uint64_t run_id = next_run_id_++;
  v1::RunRecord& run = runs_[run_id];
  run.set_version(1);
  run.set_run_id(run_id);
  return run;
}

void Draft::DeleteRun(uint64_t run_id) { changes_.deleted_runs.push_back(run_id); }

const v1::TaskRecord& Draft::task(uint64_t run_id, TaskId id) const {
  const auto edited_run = tasks_.find(run_id);
  if (edited_run != tasks_.end()) {
    const auto edited = edited_run->second.find(id);
    if (edited != edited_run->second.end()) return edited->second;
  }
  const v1::TaskRecord* const task = state_.FindTask(run_id, id);
  RETORT_CHECK(task != nullptr) << "run " << run_id << " stage " << id.stage << " layer " << id.layer;
  return *task;
}

v1::TaskRecord& Draft::EditTask(uint64_t run_id, TaskId id) {
  return tasks_[run_id].try_emplace(id, task(run_id, id)).first->second;
}

void Draft::AddTask(v1::TaskRecord task) {
  const TaskId id = IdOf(task);
  tasks_[task.run_id()][id] = std::move(task);
}

void Draft::DeleteTask(uint64_t run_id, TaskId id) {
  RETORT_CHECK(task(run_id, id).state() != v1::TASK_STATE_LEASED)
      << "run " << run_id << " stage " << id.stage << " layer " << id.layer;
  tasks_[run_id].erase(id);
  changes_.deleted_tasks.emplace_back(run_id, id);
}

std::vector<const v1::TaskRecord*> Draft::Tasks(uint64_t run_id) const {
  std::map<TaskId, const v1::TaskRecord*> merged;
  const auto run = state_.runs.find(run_id);
  if (run != state_.runs.end()) {
    for (const auto& [id, task] : run->second.tasks) merged[id] = &task;
  }
  const auto edited = tasks_.find(run_id);
  if (edited != tasks_.end()) {
    for (const auto& [id, task] : edited->second) merged[id] = &task;
  }
  std::vector<const v1::TaskRecord*> tasks;
  tasks.reserve(merged.size());
  for (const auto& [id, task] : merged) tasks.push_back(task);
  return tasks;
}

const Lease* Draft::FindLease(uint64_t token) const {
  const auto edited = leases_.find(token);
  if (edited != leases_.end()) return edited->second.ended ? nullptr : &edited->second.lease;
  return state_.FindLease(token);
}

const Lease* Draft::LeaseOf(uint64_t worker_id) const {
  for (const auto& [token, edited] : leases_) {
    if (!edited.ended && edited.lease.record.worker_id() == worker_id) return &edited.lease;
  }
  const Lease* const before = state_.LeaseOf(worker_id);
  return before == nullptr ? nullptr : FindLease(before->record.token());
}

std::vector<uint64_t> Draft::TokensOf(uint64_t run_id) const {
  std::vector<uint64_t> tokens;
  for (const auto& [token, lease] : state_.leases) {
    if (lease.record.run_id() == run_id && FindLease(token) != nullptr) tokens.push_back(token);
  }
  return tokens;
}

std::vector<uint32_t> Draft::HeldLayers(const Lease& lease) const {
  std::vector<uint32_t> layers;
  const v1::LeaseRecord& record = lease.record;
  const Run& before = state_.run(record.run_id());
  for (auto it = before.tasks.lower_bound({record.stage(), record.first_layer()});
       it != before.tasks.end() && it->first.stage == record.stage() &&
       it->first.layer < record.first_layer() + record.layer_count();
       ++it) {
    const v1::TaskRecord& row = task(record.run_id(), it->first);
    if (row.state() == v1::TASK_STATE_LEASED && row.token() == record.token()) {
      layers.push_back(it->first.layer);
    }
  }
  return layers;
}

Draft::DraftLease& Draft::EditableLease(uint64_t token) {
  const auto edited = leases_.find(token);
  if (edited != leases_.end()) {
    RETORT_CHECK(!edited->second.ended) << "lease " << token;
    return edited->second;
  }
  const Lease* const before = state_.FindLease(token);
  RETORT_CHECK(before != nullptr) << "lease " << token;
  DraftLease& draft = leases_[token];
  draft.lease = *before;
  return draft;
}

Lease& Draft::EditLease(uint64_t token) {
  DraftLease& draft = EditableLease(token);
  draft.stored = true;
  return draft.lease;
}

Lease& Draft::TouchLease(uint64_t token) { return EditableLease(token).lease; }

Lease& Draft::AddLease() {
  const uint64_t token = next_token_++;
  DraftLease& draft = leases_[token];
  draft.stored = true;
  draft.lease.record.set_version(1);
  draft.lease.record.set_token(token);
  draft.lease.attempt.set_version(1);
  draft.lease.attempt.set_token(token);
  return draft.lease;
}

void Draft::EndLease(uint64_t token) {
  DraftLease& draft = EditableLease(token);
  draft.stored = true;
  draft.ended = true;
  stale_ = true;
}

const Worker* Draft::FindWorker(uint64_t worker_id) const {
  if (removed_workers_.count(worker_id) != 0) return nullptr;
  const auto edited = workers_.find(worker_id);
  return edited != workers_.end() ? &edited->second : state_.FindWorker(worker_id);
}

Worker& Draft::EditWorker(uint64_t worker_id) {
  const Worker* const before = FindWorker(worker_id);
  RETORT_CHECK(before != nullptr) << "worker " << worker_id;
  return workers_.try_emplace(worker_id, *before).first->second;
}

Worker& Draft::AddWorker(uint64_t worker_id) {
  stale_ = true;
  return workers_[worker_id];
}

void Draft::RemoveWorker(uint64_t worker_id) {
  workers_.erase(worker_id);
  removed_workers_.insert(worker_id);
  stale_ = true;
}

void Draft::Supersede(uint64_t worker_id, const std::string& name) {
  changes_.superseded.emplace_back(worker_id, name);
}

void Draft::RefuseRun(uint64_t run_id, const Worker& worker, const std::string& message) {
  changes_.refusals.push_back(
      {run_id, worker.id(), {worker.name(), message, now_.steady_ms + options_.refusal_keep_ms}});
}

void Draft::ForgetRefusalsOfRun(uint64_t run_id) {
  if (state_.run(run_id).refusals.empty()) return;
  changes_.asked_again_runs.push_back(run_id);
  stale_ = true;
}

void Draft::ForgetRefusalsOfWorker(uint64_t worker_id) {
  const bool has_refused = std::any_of(state_.runs.begin(), state_.runs.end(), [&](const auto& entry) {
    return entry.second.refusals.count(worker_id) != 0;
  });
  if (!has_refused) return;
  changes_.asked_again_workers.push_back(worker_id);
  stale_ = true;
}

void Draft::SetGang(uint64_t run_id, Gang gang) { changes_.gangs.push_back({run_id, std::move(gang)}); }

void Draft::AddRequest(const std::string& id, v1::RequestRecord request) {
  changes_.requests.emplace_back(id, std::move(request));
}

void Draft::DropRequest(const std::string& id) { changes_.old_requests.push_back(id); }

v1::EventRecord& Draft::AddEvent(v1::EventKind kind) {
  v1::EventRecord& event = changes_.events.emplace_back();
  event.set_version(1);
  event.set_time_unix_ms(now_.unix_ms);
  event.set_kind(kind);
  return event;
}

v1::EventRecord& Draft::AddEvent(v1::EventKind kind, const Lease& lease) {
  v1::EventRecord& event = AddEvent(kind);
  event.set_run_id(lease.record.run_id());
  event.set_stage(lease.record.stage());
  event.set_token(lease.record.token());
  event.set_worker_name(lease.record.worker_name());
  return event;
}

void Draft::SetPlacement(Placement placement, std::vector<uint64_t> recut_runs) {
  changes_.placement = std::move(placement);
  changes_.recut_runs = std::move(recut_runs);
}

Changes Draft::Finish() {
  for (auto& [run_id, run] : runs_) changes_.runs.push_back(std::move(run));
  for (auto& [run_id, tasks] : tasks_) {
    for (auto& [id, task] : tasks) changes_.tasks.push_back(std::move(task));
  }
  for (auto& [token, draft] : leases_) {
    if (draft.stored) changes_.attempts.push_back(draft.lease.attempt);
    if (draft.ended) {
      if (state_.FindLease(token) != nullptr) changes_.ended_leases.push_back(token);
      continue;
    }
    if (draft.stored) changes_.leases.push_back(draft.lease.record);
    changes_.lease_states.push_back(std::move(draft.lease));
  }
  for (auto& [worker_id, worker] : workers_) changes_.workers.push_back(std::move(worker));
  changes_.removed_workers.assign(removed_workers_.begin(), removed_workers_.end());
  if (next_run_id_ != state_.next_run_id) changes_.next_run_id = next_run_id_;
  if (next_token_ != state_.next_token) changes_.next_token = next_token_;
  changes_.placement_stale = stale_;
  changes_.steady_ms = now_.steady_ms;
  return std::move(changes_);
}

}  // namespace retort::orchestrator
