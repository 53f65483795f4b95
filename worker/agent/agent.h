// A worker's side of docs/protocol.md as a state machine: what to call, when to heartbeat, what to train,
// copy and give back, when to stop by itself and when to leave. It decides; whoever drives it acts: asks for
// the next call, heartbeat and piece of work whenever the last one has ended, at NextDueMs and after every
// event, and reports how each ended. A restart of the process is a new Agent with a new worker_id.
//
// Deterministic: the time (monotonic milliseconds) and the seed of its back-offs are passed in. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "retort/v1/worker_service.pb.h"
#include "worker/agent/holding.h"
#include "worker/agent/lease_clock.h"
#include "worker/agent/orders.h"

namespace retort {

class Agent {
 public:
  Agent(v1::RegisterRequest registration, uint64_t seed);

  // Nothing: none is due, or one is under way. What is returned is under way until its end is reported.
  std::optional<AgentCall> NextCall(int64_t now_ms);
  std::optional<v1::HeartbeatRequest> NextHeartbeat(int64_t now_ms);
  std::optional<Work> NextWork(int64_t now_ms);

  // `reply` is looked at when `status` is OK.
  void OnCallEnd(int64_t now_ms, const absl::Status& status, AgentReply reply);
  void OnHeartbeatEnd(int64_t now_ms, const absl::StatusOr<v1::HeartbeatReply>& reply);
  void OnLoadProgress(const LoadProgress& progress) { load_progress_ = progress; }
  void OnWorkEnd(int64_t now_ms, WorkEnd end);

  // Whether what is under way should be broken off; it then ends with CANCELLED, or as it would have.
  bool StopsCall(int64_t now_ms) const;
  bool StopsWork(int64_t now_ms) const;

  // SIGTERM: saves, gives back, says good-bye, all before `grace_ms` have passed.
  void Terminate(int64_t now_ms, int64_t grace_ms);

  // When to ask again though nothing has happened.
  int64_t NextDueMs(int64_t now_ms) const;

  // Set once the process is to end. OK: it has left. FAILED_PRECONDITION, INVALID_ARGUMENT, UNIMPLEMENTED:
  // the orchestrator will not have it. DEADLINE_EXCEEDED: the grace was over before it could say good-bye.
  const std::optional<absl::Status>& end() const { return end_; }

  std::vector<Note> TakeNotes();

  // Of the heartbeat that was asked for last.
  int64_t heartbeat_deadline_ms() const { return 2 * int64_t{rules_.heartbeat_interval_ms()}; }

  // Of the registration; 0 before the first.
  uint64_t epoch() const { return epoch_; }
  const Holding* holding() const { return holding_ ? &*holding_ : nullptr; }

 private:
  struct Publish {
    enum class Stage { kDescribe, kBegin, kUpload, kCommit };
    v1::PublishKind kind = v1::PUBLISH_KIND_CHECKPOINT;
    Saved saved;
    Stage stage = Stage::kDescribe;
    std::vector<v1::LayerCheckpoint> described = {};
    v1::BeginPublishRequest begun = {};  // as sent last
    uint64_t number = 0;                 // the orchestrator's
    std::vector<v1::TensorIndex> missing = {};
  };
  struct Failure {
    v1::EndCause cause;
    std::vector<uint32_t> layers;
    std::string message;
  };
  struct Ending {
    int64_t since_ms;
    std::optional<int64_t> leave_ms;  // what is not saved then is given up
    std::optional<int64_t> by_ms;     // the end of the grace
  };

  // agent_calls.cc
  std::optional<AgentCall> ChooseCall(int64_t now_ms);
  std::optional<AgentCall> ChooseSliceCall(int64_t now_ms);
  std::optional<AgentCall> ChoosePublishCall(int64_t now_ms);
  void OnRegistered(int64_t now_ms, const v1::RegisterReply& reply);
  void OnLease(int64_t now_ms, const v1::LeaseReply& reply);
  void OnPublishCallEnd(int64_t now_ms, const AgentCall& call, const absl::Status& status, AgentReply reply);
  void OnBegun(const absl::StatusOr<v1::BeginPublishReply>& reply, int64_t now_ms);
  void OnGiven(const std::vector<uint32_t>& layers);
  void OnCallError(int64_t now_ms, const AgentCall& call, const absl::Status& status);
  void DropPublish();
  bool HasLostLayers(const Publish& publish) const;

  // agent_work.cc
  std::optional<Work> ChooseWork(int64_t now_ms);
  std::optional<Work> ChooseLoadedWork(int64_t now_ms);
  void OnLoaded(int64_t now_ms, const absl::Status& status);
  void OnCopied(const CopyOrder& order, std::vector<SavedLayer> saved);
  void AddPublish(v1::PublishKind kind, std::vector<SavedLayer> saved);
  bool IsWorkStale() const;

  // agent.cc
  void RegisterAgain();
  void FailSlice(v1::EndCause cause, std::vector<uint32_t> layers, const std::string& message);
  void EndHolding();
  void ObeyVerdict(int64_t now_ms, int64_t sent_ms, const v1::LeaseVerdict& verdict);
  v1::SlicePhase Phase(int64_t now_ms) const;
  void BackOff(int64_t now_ms);
  uint64_t Draw();
  void Write(v1::LogLevel level, std::string text);

  v1::RegisterRequest registration_;
  uint64_t seed_;
  uint64_t draws_ = 0;

  uint64_t epoch_ = 0;
  bool is_registered_ = false;
  v1::RegisterReply rules_;
  std::optional<Ending> ending_;
  std::optional<absl::Status> end_;

  // Heartbeats.
  int64_t heartbeat_due_ms_ = 0;
  bool is_heartbeat_out_ = false;
  int64_t heartbeat_sent_ms_ = 0;
  bool heartbeat_asks_again_ = false;  // the one that is out was sent after the ABORTED that asked for it
  // An ABORTED asked for a verdict, and no heartbeat sent since was answered.
  bool verdict_needed_ = false;

  // Calls.
  std::optional<AgentCall> call_;  // under way
  int call_failures_ = 0;
  int64_t call_due_ms_ = 0;  // a back-off's end

  // The slice.
  std::optional<Holding> holding_;
  LeaseClock lease_clock_{0, 0};
  std::optional<Failure> failure_;
  std::optional<int64_t> yield_since_ms_;
  int64_t yield_within_ms_ = 0;
  std::deque<Publish> publishes_;  // the first is under way
  std::optional<v1::PreparedRun> prepared_;

  // Work.
  std::optional<Work> work_;   // under way
  uint64_t work_token_ = 0;    // the lease that it is for
  uint64_t loaded_token_ = 0;  // the lease that the SliceWork is for; 0: there is none
  LoadProgress load_progress_;
  int load_failures_ = 0;
  int64_t load_due_ms_ = 0;

  std::vector<Note> notes_;
};

}  // namespace retort
