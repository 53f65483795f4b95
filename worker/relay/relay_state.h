// What training, serving and the orchestrator's orders tell each other in a worker: the boundaries that
// training has put out, how far it is, how far those above are, whom to pull from. It decides who makes what
// is asked for, and when training must wait.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/mutex.h"
#include "core/base/relay_limits.h"
#include "model/lm/language_model.h"
#include "retort/v1/activation_service.pb.h"
#include "retort/v1/worker_service.pb.h"
#include "train/data/batches.h"
#include "train/stages/stage_plan.h"

namespace retort {

// A run as it is loaded here: enough to make any boundary up to `blocks` of any batch.
struct ServedRun {
  uint64_t run_id = 0;
  std::string identity_sha256;
  std::string teacher_sha256;
  LanguageModel teacher;  // with the embedding and blocks 0 to blocks - 1
  int64_t blocks = 0;
  std::shared_ptr<const Batches> batches;
  std::vector<StagePlan> plans;  // of the job's stages

  const StagePlan* PlanOf(v1::Stage stage) const;  // nullptr: the job has no such stage
};

// A slice that trains, as the relay sees it.
struct RelayedSlice {
  uint64_t token = 0;
  uint64_t run_id = 0;
  v1::Stage stage = v1::STAGE_UNSPECIFIED;
  bool pulls = false;  // else it recomputes
  int64_t lowest_layer = 0;
  int64_t first_step = 0;
  int64_t output_boundary = 0;  // one above its last layer, as loaded
  RelayLimits limits = {};
};

// Without limits.
RelayedSlice RelayedSliceOf(const v1::Slice& slice);

// Of a process: what was done for this worker's own slices and for those of others.
struct RelayCounts {
  std::atomic<uint64_t> trained_blocks = 0;  // forward passes of teacher blocks, in training
  std::atomic<uint64_t> served_blocks = 0;   // the same for others, apart from training
  std::atomic<uint64_t> received = 0;        // micro-batches
  std::atomic<uint64_t> received_bytes = 0;  // of them
  // Of the fastest of them since a slice began, from when it was at hand above; 0: none.
  std::atomic<uint64_t> fastest_nanoseconds = 0;
  std::atomic<uint64_t> recomputed = 0;            // micro-batches for which no upstream answered
  std::atomic<uint64_t> sent = 0, sent_bytes = 0;  // micro-batches

  void AddReceived(uint64_t bytes, double seconds);
  std::string Text() const;
};

// Thread-safe. Times are monotonic milliseconds.
class RelayState {
 public:
  // ---- What the worker does; from the thread that works.

  // The slice is being loaded: who asks for its run, or for what it will put out first, waits. Another run's
  // teacher is let go of.
  void BeginLoad(const RelayedSlice& slice);
  // The teacher's blocks from `blocks` on are no longer kept or served.
  void ReleaseTeacherFrom(int64_t blocks);
  // Loaded: serves this run from now on, and no other. The slice trains.
  void BeginSlice(std::shared_ptr<const ServedRun> run, const RelayedSlice& slice,
                  const v1::RelayOrders& orders);
  // Nothing is loaded or trained any more. What was put out stays for those above.
  void EndSlice();
  // Nothing is served any more.
  void Clear();

  // Waits until training may take the batch `step`, at most for `wait_ms` or until `stop`; whether it may.
  bool AwaitTurn(int64_t step, int64_t wait_ms, const std::atomic<bool>& stop);
  // The batch is being trained on, up to `output_boundary`; and no more: the next one will be `next_step`.
  void BeginStep(int64_t step, int64_t output_boundary);
  void EndStep(int64_t next_step);
  // Whether somebody above pulls or will.
  bool is_wanted() const;
  // hidden_states[output_boundary] of a micro-batch of the batch that is being trained on.
  void Put(int64_t step, int64_t pass, at::Tensor hidden_BTE);

  // ---- What the orchestrator says.
  void TakeOrders(uint64_t token, const v1::RelayOrders& orders);
  // Whoever was named last: one whose slice is done goes on serving. Nobody whose boundary is above our
  // slice, as after a new cut: two that pull from each other would wait for each other.
  std::optional<v1::RelayUpstream> upstream() const;

  // ---- What others ask for.
  enum class Finding {
    kAtHand,
    kTrainingComes,  // ask again after a change
    kLoading,        // likewise
    kTeacher,        // run the teacher
    kNotServed,      // FAILED_PRECONDITION
  };
  struct Found {
    Finding finding = Finding::kNotServed;
    at::Tensor hidden_BTE;                 // kAtHand
    std::shared_ptr<const ServedRun> run;  // kAtHand, kTrainingComes, kTeacher
    uint64_t changes = 0;                  // for AwaitChange
  };
  Found Find(const v1::PullRequest& request, int64_t now_ms);
  // Waits until what Find said may have changed, at most for `wait_ms`.
  void AwaitChange(uint64_t changes, int64_t wait_ms);

  RelayCounts& counts() { return counts_; }

 private:
  struct Key {
    v1::Stage stage;
    uint64_t step;
    uint32_t micro_batch;
    uint32_t boundary;
    friend auto operator<=>(const Key&, const Key&) = default;  // NOLINT(modernize-use-nullptr)
  };
  // How far the slice above is, as its own Pulls say.
  struct Pulled {
    v1::Stage stage;
    uint64_t low_step;
  };

  std::optional<uint64_t> Floor() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsWanted() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool TrainingComesTo(const Key& key, bool is_own, int64_t now_ms) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsNear(const Key& key, bool is_own, int64_t from_step, int64_t lead_steps) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropPassed(const Pulled& pulled) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetRun() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetOrders(uint64_t token, const v1::RelayOrders& orders) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TellChange() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  RelayCounts counts_;
  mutable Mutex mutex_;
  std::condition_variable_any changed_;
  uint64_t changes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<const ServedRun> run_ ABSL_GUARDED_BY(mutex_);
  std::optional<RelayedSlice> loading_ ABSL_GUARDED_BY(mutex_);
  std::optional<RelayedSlice> slice_ ABSL_GUARDED_BY(mutex_);  // that trains
  int64_t step_ ABSL_GUARDED_BY(mutex_) = 0;                   // its batch, or its next one
  int64_t output_boundary_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_in_step_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t left_step_ms_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t orders_token_ ABSL_GUARDED_BY(mutex_) = 0;
  v1::RelayOrders orders_ ABSL_GUARDED_BY(mutex_);
  std::optional<v1::RelayUpstream> upstream_ ABSL_GUARDED_BY(mutex_);
  std::optional<Pulled> pulled_ ABSL_GUARDED_BY(mutex_);
  std::map<Key, at::Tensor> buffer_ ABSL_GUARDED_BY(mutex_);
  std::deque<Key> in_order_ ABSL_GUARDED_BY(mutex_);  // of the buffer, as put; some are gone
  uint64_t buffered_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Monotonic, for Find.
int64_t RelayNowMs();

}  // namespace retort
