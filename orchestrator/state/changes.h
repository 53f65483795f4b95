// What a decision wants changed. Its owner does three things under one lock: decide; write the durable part
// in one synced batch (unless it is empty); Apply the whole to the State. When the write fails nothing is
// applied, and the caller gets UNAVAILABLE: the decision is made anew when the call is repeated.
//
// Manifests do not appear here: which of them are kept follows from the tasks (last_publish, best_publish)
// and runs (result_publish, state) that are put, and the store deletes the others in the same batch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "orchestrator/state/state.h"

namespace retort::orchestrator {

struct Refusal {
  uint64_t run_id;
  uint64_t worker_id;
  InputRefusal refusal;
};

struct GangChange {
  uint64_t run_id;
  Gang gang;
};

struct Changes {
  // Durable: records to put, by the ids in them.
  std::vector<v1::RunRecord> runs;
  std::vector<v1::TaskRecord> tasks;
  std::vector<v1::LeaseRecord> leases;
  std::vector<v1::AttemptRecord> attempts;
  std::vector<std::pair<std::string, v1::RequestRecord>> requests;
  std::vector<v1::EventRecord> events;  // in this order, numbered by the store
  // Durable: records to delete.
  std::vector<uint64_t> ended_leases;
  std::vector<std::string> old_requests;
  std::vector<uint64_t> deleted_runs;                      // with their tasks, attempts, events and manifests
  std::vector<std::pair<uint64_t, TaskId>> deleted_tasks;  // of runs that stay
  // Durable: MetaRecord's, when runs or leases took numbers; 0: unchanged.
  uint64_t next_run_id = 0;
  uint64_t next_token = 0;

  // Memory only.
  std::vector<Lease> lease_states;  // whole leases, also those of `leases`
  std::vector<Worker> workers;
  std::vector<uint64_t> removed_workers;
  std::vector<std::pair<uint64_t, std::string>> superseded;
  std::vector<Refusal> refusals;
  std::vector<uint64_t> asked_again_runs;     // whose refusals are forgotten
  std::vector<uint64_t> asked_again_workers;  // the same, of all runs
  std::vector<uint64_t> recut_runs;
  std::vector<GangChange> gangs;
  std::optional<Placement> placement;
  bool placement_stale = false;
  int64_t steady_ms = 0;  // when it was decided

  bool is_durable() const;
};

// An answer with what it changes. The changes of a refused call too are to be written and applied: they hold
// the event that records the refusal.
template <class Reply>
struct Decision {
  absl::Status status;
  Reply reply;  // valid when `status` is OK
  Changes changes;
  std::string reason;  // a sentence with numbers, for the log
};

// Of decisions that answer nobody.
struct NoReply {};

void Apply(const Changes& changes, State& state);

// For changes that were decided on an earlier copy of `state` and end no lease: what heartbeats have brought
// since stays.
void KeepRenewals(const State& state, Changes& changes);

}  // namespace retort::orchestrator
