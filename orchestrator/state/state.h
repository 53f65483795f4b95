// All that the orchestrator knows while it runs: what the store holds, as the records themselves, and what
// lives only in memory. A plain value. Decisions (the other headers of this folder) are pure functions of a
// moment, a State and the Options; they return Changes, and Apply alone writes a State. Not thread-safe:
// whoever owns it holds one lock over decide, persist and apply.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/base/work_names.h"
#include "orchestrator/state/options.h"
#include "retort/v1/records.pb.h"
#include "retort/v1/worker_service.pb.h"

namespace retort::orchestrator {

// When a decision is made. Leases, yields and silence are judged by the monotonic clock; the wall clock is
// for display, back-offs and the age of request ids.
struct Moment {
  int64_t steady_ms = 0;
  int64_t unix_ms = 0;
  uint64_t random = 0;  // drawn anew for each decision; varies back-offs
};

// Of a task within its run. Not the order of execution: PREPARE, then by layer stage 1 before stage 2, then
// END_TO_END.
struct TaskId {
  v1::Stage stage;
  uint32_t layer;
  // clang-tidy 14 sees a comparison with 0 in it.
  friend auto operator<=>(const TaskId&, const TaskId&) = default;  // NOLINT(modernize-use-nullptr)
};

inline TaskId IdOf(const v1::TaskRecord& task) { return {task.stage(), task.layer()}; }
constexpr TaskId kPrepare = {v1::STAGE_PREPARE, 0};
constexpr TaskId kEndToEnd = {v1::STAGE_END_TO_END, 0};

// A worker that lacks an input of a run, as its Fail with WRONG_INPUT said.
struct InputRefusal {
  std::string worker_name;
  std::string message;
  int64_t until_steady_ms;  // from then on it is asked again
};

// The ranks of END_TO_END that train, or wait to train, together. Memory only.
struct Gang {
  uint64_t generation = 0;               // the last one formed; 0: none since the start
  std::map<uint32_t, uint64_t> members;  // of it: rank -> token
  std::map<uint32_t, uint64_t> waiting;  // for the next one: rank -> token; a token may have ended since
};

struct Run {
  v1::RunRecord record;
  std::map<TaskId, v1::TaskRecord> tasks;
  // Memory only.
  std::map<uint64_t, InputRefusal> refusals;  // by worker_id
  std::optional<int64_t> last_recut_steady_ms;
  Gang gang;
};

// A wish to have layers back, told by heartbeats.
struct Yield {
  v1::EndCause cause;
  std::vector<uint32_t> layers;  // ascending; the rest of the lease is contiguous
  std::string reason;
  std::optional<int64_t> deadline_steady_ms;  // from the first reply that told it
};

struct Lease {
  v1::LeaseRecord record;
  v1::AttemptRecord attempt;
  // Memory only.
  int64_t deadline_steady_ms = 0;
  bool heartbeat_seen = false;
  std::optional<Yield> yield;
  v1::SliceProgress progress;  // all that was reported; steps only rise
};

struct Worker {
  v1::RegisterRequest registration;
  int64_t registered_unix_ms = 0;
  int64_t last_heartbeat_steady_ms = 0;  // or the registration
  bool draining = false;
  // How fast it proved beside what measured_gflops promised, relative to the other workers of its runs.
  double speed_ratio = 1;

  uint64_t id() const { return registration.worker_id(); }
  const std::string& name() const { return registration.name(); }
  double speed_gflops() const { return registration.capabilities().measured_gflops() * speed_ratio; }
};

// What the last plan wants a worker to do. A worker without a target stays idle.
struct Target {
  uint64_t run_id = 0;
  // PREPARE, END_TO_END (the rank first_layer), or UNSPECIFIED: stages 1 and 2 of the open layers first_layer
  // to last_layer.
  v1::Stage stage = v1::STAGE_UNSPECIFIED;
  uint32_t first_layer = 0;
  uint32_t last_layer = 0;
  friend bool operator==(const Target&, const Target&) = default;
};

// A run of fewer workers than END_TO_END's ranks, which it may still change.
struct ShortGang {
  int64_t since_steady_ms = 0;  // that so many fit
  uint32_t ranks_that_fit = 0;
};

struct Placement {
  std::map<uint64_t, Target> targets;          // by worker_id
  std::map<uint64_t, std::string> run_reason;  // by run_id: its cut, or what it waits for
  std::string idle_reason;                     // of the workers without a target
  std::map<uint64_t, ShortGang> short_gangs;   // by run_id
  int64_t made_steady_ms = std::numeric_limits<int64_t>::min() / 2;
  int64_t next_backoff_unix_ms = 0;  // the plan changes when this back-off ends; 0: none
};

// Which rows a token was granted, also after its lease has ended.
struct TokenRows {
  uint64_t run_id;
  v1::Stage stage;
};

struct State {
  uint64_t epoch = 0;
  uint64_t next_run_id = 1;
  uint64_t next_token = 1;
  std::map<uint64_t, Run> runs;      // ended ones too; 0.3 KiB a task
  std::map<uint64_t, Lease> leases;  // by token
  std::map<std::string, v1::RequestRecord> requests;
  // Memory only.
  std::map<uint64_t, Worker> workers;          // by worker_id
  std::map<uint64_t, std::string> superseded;  // worker_ids whose name another process took
  Placement placement;
  bool placement_stale = true;
  // Found again from the above by whoever changes it.
  std::unordered_map<uint64_t, uint64_t> lease_of_worker;  // worker_id -> token
  std::unordered_map<std::string, uint64_t> worker_named;  // name -> worker_id
  std::unordered_map<uint64_t, TokenRows> rows_of_token;   // of every task's newest token

  const Run& run(uint64_t run_id) const;
  const v1::TaskRecord* FindTask(uint64_t run_id, TaskId id) const;
  const Lease* FindLease(uint64_t token) const;
  const Lease* LeaseOf(uint64_t worker_id) const;
  const Worker* FindWorker(uint64_t worker_id) const;
};

// What a store held when the process started. `meta.epoch` is already this start's.
struct StoredRecords {
  v1::MetaRecord meta;
  std::vector<v1::RunRecord> runs;
  std::vector<v1::TaskRecord> tasks;
  std::vector<v1::LeaseRecord> leases;
  std::vector<v1::AttemptRecord> attempts;  // at least those of `leases`; the others are passed over
  std::vector<std::pair<std::string, v1::RequestRecord>> requests;
};

// Every lease gets lease_ttl_ms from `now`; no worker is registered; what a run's state asks of its holders
// (PAUSING, FAILED) is asked again. The records must fit together (CheckInvariants says whether they do).
State LoadState(const Moment& now, const Options& options, StoredRecords records);

// For logs and failing tests: one line a run, lease and worker.
std::string DebugString(const State& state);

// Why the run is not offered to the worker now; nullptr: nothing against it is known.
const InputRefusal* FindRefusal(const Moment& now, const Run& run, uint64_t worker_id);

// Whether its job is over: nothing of it is ever granted again unless a user says Retry.
bool IsEnded(v1::RunState state);

// "quickstart (run 3)".
std::string NameOf(const v1::RunRecord& run);

// Layers as sentences name them: "layer 4", "layers 4 to 6", "layers 4, 7".
std::string LayersText(const std::vector<uint32_t>& layers);

// The rows that the lease still holds, ascending.
std::vector<uint32_t> HeldLayers(const Run& run, const Lease& lease);

}  // namespace retort::orchestrator
