// The changes of one decision while it is made: reads see what was edited so far, the State stays as it is.
// Shared by the decisions of this folder; lives within one of them. The State, the Options and the Moment
// must outlive it. Not thread-safe.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "orchestrator/state/changes.h"
#include "orchestrator/state/options.h"
#include "orchestrator/state/state.h"

namespace retort::orchestrator {

class Draft {
 public:
  Draft(const Moment& now, const State& state, const Options& options);
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;

  const Moment& now() const { return now_; }
  const State& state() const { return state_; }  // as before the decision
  const Options& options() const { return options_; }

  // The id must exist. References from Edit and Add live as long as the draft.
  const v1::RunRecord& run(uint64_t run_id) const;
  v1::RunRecord& EditRun(uint64_t run_id);
  v1::RunRecord& AddRun();  // takes the next id

  void DeleteRun(uint64_t run_id);  // which was not edited, and of which no lease stands

  const v1::TaskRecord& task(uint64_t run_id, TaskId id) const;
  v1::TaskRecord& EditTask(uint64_t run_id, TaskId id);
  void AddTask(v1::TaskRecord task);
  void DeleteTask(uint64_t run_id, TaskId id);  // which nobody holds; after its last edit
  std::vector<const v1::TaskRecord*> Tasks(uint64_t run_id) const;

  const Lease* FindLease(uint64_t token) const;  // nullptr: none stands
  const Lease* LeaseOf(uint64_t worker_id) const;
  std::vector<uint64_t> TokensOf(uint64_t run_id) const;  // of its standing leases
  std::vector<uint32_t> HeldLayers(const Lease& lease) const;
  Lease& EditLease(uint64_t token);   // with what is stored of it
  Lease& TouchLease(uint64_t token);  // what lives only in memory
  Lease& AddLease();                  // takes the next token
  void EndLease(uint64_t token);      // after its last edit

  const Worker* FindWorker(uint64_t worker_id) const;
  Worker& EditWorker(uint64_t worker_id);
  Worker& AddWorker(uint64_t worker_id);
  void RemoveWorker(uint64_t worker_id);
  void Supersede(uint64_t worker_id, const std::string& name);
  // The worker lacks an input of the run, and is not offered it for a while.
  void RefuseRun(uint64_t run_id, const Worker& worker, const std::string& message);
  // Those who did are asked again at once.
  void ForgetRefusalsOfRun(uint64_t run_id);
  void ForgetRefusalsOfWorker(uint64_t worker_id);

  void SetGang(uint64_t run_id, Gang gang);

  void AddRequest(const std::string& id, v1::RequestRecord request);
  void DropRequest(const std::string& id);

  // With time and version set; the caller fills in the rest.
  v1::EventRecord& AddEvent(v1::EventKind kind);
  v1::EventRecord& AddEvent(v1::EventKind kind, const Lease& lease);  // with run, stage, token, worker

  void SetPlacement(Placement placement, std::vector<uint64_t> recut_runs);
  // What plans depend on has changed.
  void MakePlacementStale() { stale_ = true; }

  Changes Finish();

 private:
  struct DraftLease {
    Lease lease;
    bool stored = false;
    bool ended = false;
  };

  DraftLease& EditableLease(uint64_t token);

  const Moment& now_;
  const State& state_;
  const Options& options_;
  std::map<uint64_t, v1::RunRecord> runs_;
  std::map<uint64_t, std::map<TaskId, v1::TaskRecord>> tasks_;
  std::map<uint64_t, DraftLease> leases_;
  std::map<uint64_t, Worker> workers_;
  std::set<uint64_t> removed_workers_;
  Changes changes_;
  uint64_t next_run_id_;
  uint64_t next_token_;
  bool stale_ = false;
};

}  // namespace retort::orchestrator
