// The orchestrator without threads, network and clock: one method for each call of both services, and Tick
// for what time does. Each change is decided by orchestrator/state, written in one synced transaction, and
// only then applied and answered. The service and the simulator drive it.
//
// Thread-safe. Changes are made one after another, and a caller of one waits for the disk; heartbeats and
// questions do not, save for a heartbeat of the very lease or worker that a change under way is about.
//
// A commit that the disk refuses, and a caller that has seen a later orchestrator on this store, end a
// coordinator for good: every call then answers UNAVAILABLE, and failure() says why. The process should end.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "core/base/log.h"
#include "core/base/mutex.h"
#include "core/store/checkpoint_reader.h"
#include "core/store/store.h"
#include "orchestrator/coordinator/publishes.h"
#include "orchestrator/coordinator/rendezvous_table.h"
#include "orchestrator/coordinator/result_reader.h"
#include "orchestrator/state/changes.h"
#include "orchestrator/state/options.h"
#include "orchestrator/state/state.h"
#include "retort/v1/run_service.pb.h"
#include "retort/v1/worker_service.pb.h"

namespace retort::orchestrator {

// What Watch sends next.
struct WatchStep {
  std::vector<v1::Event> events;  // the next ones, ascending
  bool is_last = false;           // the run has ended and these are its last events
};

class Coordinator {
 public:
  // Reads the whole store, gives each lease in it its grace, and records the start. `now` says the time and
  // draws a random number; it is called often, and for each decision anew. `store` and `log` outlive the
  // coordinator.
  //   DATA_LOSS  the records do not fit together; names the first that does not
  static absl::StatusOr<std::unique_ptr<Coordinator>> Start(Store& store, const Options& options,
                                                            std::function<Moment()> now, Log& log);

  // WorkerService. Errors as its proto file has them.
  absl::StatusOr<v1::RegisterReply> Register(const v1::RegisterRequest& request);
  // At once; without a slice when there is nothing to do now.
  absl::StatusOr<v1::LeaseReply> Lease(const v1::LeaseRequest& request);
  absl::StatusOr<v1::HeartbeatReply> Heartbeat(const v1::HeartbeatRequest& request);
  // nullopt instead of waiting for the disk.
  std::optional<absl::StatusOr<v1::HeartbeatReply>> TryHeartbeat(const v1::HeartbeatRequest& request);
  absl::StatusOr<v1::BeginPublishReply> BeginPublish(const v1::BeginPublishRequest& request);
  // UploadChunks: OpenUpload for the header, StartUpload when the stream's turn has come, however long that
  // takes, AppendChunk for each chunk, FinishUpload after the last, which waits for the disk, or DropPublish
  // when the stream breaks. An error drops the publish.
  absl::Status OpenUpload(const v1::UploadHeader& header);
  absl::Status StartUpload(const v1::UploadHeader& header);
  absl::Status AppendChunk(const v1::UploadHeader& header, const v1::TensorChunk& chunk);
  absl::Status FinishUpload(const v1::UploadHeader& header);
  void DropPublish(const v1::UploadHeader& header);
  absl::StatusOr<v1::CommitPublishReply> CommitPublish(const v1::CommitPublishRequest& request);
  absl::StatusOr<std::unique_ptr<CheckpointReader>> FetchCheckpoint(
      const v1::FetchCheckpointRequest& request);
  absl::StatusOr<v1::CompleteReply> Complete(const v1::CompleteRequest& request);
  absl::StatusOr<v1::FailReply> Fail(const v1::FailRequest& request);
  absl::StatusOr<v1::ReleaseLeaseReply> ReleaseLease(const v1::ReleaseLeaseRequest& request);
  absl::StatusOr<v1::LeaveReply> Leave(const v1::LeaveRequest& request);
  absl::StatusOr<v1::JoinGangReply> JoinGang(const v1::JoinGangRequest& request);
  absl::StatusOr<v1::RendezvousReply> Rendezvous(const v1::RendezvousRequest& request);
  // Of a registered worker, for ShipLogs.
  absl::StatusOr<std::string> NameOfWorker(uint64_t worker_id, uint64_t epoch) const;

  // RunService. Errors as its proto file has them.
  absl::StatusOr<v1::SubmitReply> Submit(const v1::SubmitRequest& request);
  absl::StatusOr<v1::PlanReply> Plan(const v1::PlanRequest& request) const;
  absl::StatusOr<v1::GetReply> Get(const v1::GetRequest& request) const;
  absl::StatusOr<v1::ListReply> List(const v1::ListRequest& request) const;
  absl::StatusOr<v1::PauseReply> Pause(const v1::PauseRequest& request);
  absl::StatusOr<v1::ResumeReply> Resume(const v1::ResumeRequest& request);
  absl::StatusOr<v1::CancelReply> Cancel(const v1::CancelRequest& request);
  absl::StatusOr<v1::RetryReply> Retry(const v1::RetryRequest& request);
  absl::StatusOr<v1::DeleteReply> Delete(const v1::DeleteRequest& request);
  absl::StatusOr<v1::ListWorkersReply> ListWorkers() const;
  absl::StatusOr<v1::DrainWorkerReply> DrainWorker(const v1::DrainWorkerRequest& request);
  absl::StatusOr<std::unique_ptr<ResultReader>> Download(const v1::DownloadRequest& request);
  absl::StatusOr<uint64_t> ResolveRun(const v1::RunRef& run) const;
  // Of a run that ResolveRun gave; NOT_FOUND, as in the next two, when it was deleted since.
  absl::StatusOr<v1::RunStatus> StatusOfRun(uint64_t run_id) const;
  // At most `max_events` of the run's events after a sequence number. OUT_OF_RANGE: that is in the future.
  absl::StatusOr<WatchStep> Watch(uint64_t run_id, uint64_t after_sequence, size_t max_events) const;
  // Whether the run has ended and nobody holds anything of it.
  absl::StatusOr<bool> IsOver(uint64_t run_id) const;

  // Does what is due: ends expired leases, makes a new plan, drops silent publishes. Returns when, by the
  // monotonic clock, something can be due next if nothing else happens.
  int64_t Tick();

  // Grows with every change but heartbeats': who waits for work asks again.
  uint64_t changes() const { return changes_.load(); }

  // OK until the coordinator has ended.
  absl::Status failure() const;

  // A copy, for the simulator's invariants.
  State state() const;

 private:
  struct InFlight {
    std::set<uint64_t> workers;
    std::set<uint64_t> tokens;
  };
  using Body = absl::FunctionRef<absl::Status(Transaction& transaction)>;

  Coordinator(Store& store, const Options& options, std::function<Moment()> now, Log& log)
      : store_(store), options_(options), now_(std::move(now)), log_(log) {}
  absl::Status Load();
  void End(const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_mutex_);

  // Decides, persists and applies; what `also` writes goes into the same transaction when the decision is OK
  // and changes something. `decide` is called with (moment, state, options).
  template <class Reply, class Decide>
  absl::StatusOr<Reply> Do(const Decide& decide) ABSL_LOCKS_EXCLUDED(commit_mutex_, state_mutex_);
  template <class Reply, class Decide>
  absl::StatusOr<Reply> DoAlone(const Decide& decide, Body also) ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);
  // Applies what is not durable.
  template <class Reply, class Decide>
  Decision<Reply> MakeDecision(const Decide& decide) ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);
  absl::Status RefuseUpload(const v1::UploadHeader& header) ABSL_LOCKS_EXCLUDED(commit_mutex_, state_mutex_);
  absl::StatusOr<const Run*> FindRun(uint64_t run_id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_mutex_);
  bool IsOverNow(uint64_t run_id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_mutex_);
  void SetInFlight(const Changes& changes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_mutex_);
  absl::Status Persist(const Changes& changes, const std::string& reason, Body also)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);
  absl::Status Transact(Body body) ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);
  void Replan() ABSL_LOCKS_EXCLUDED(commit_mutex_, state_mutex_);

  Store& store_;
  const Options options_;
  const std::function<Moment()> now_;
  Log& log_;

  // Held over decide, write and apply; taken before state_mutex_, which nobody holds while the disk works.
  Mutex commit_mutex_;
  mutable Mutex state_mutex_;
  State state_ ABSL_GUARDED_BY(state_mutex_);
  // What the change that is being written is about.
  InFlight in_flight_ ABSL_GUARDED_BY(state_mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(state_mutex_);
  // Sequence numbers of the events in the store.
  std::unordered_map<uint64_t, std::vector<uint64_t>> events_of_run_ ABSL_GUARDED_BY(state_mutex_);
  uint64_t last_event_ ABSL_GUARDED_BY(state_mutex_) = 0;

  Publishes publishes_;
  RendezvousTable rendezvous_;
  std::atomic<uint64_t> changes_ = 0;
};

}  // namespace retort::orchestrator
