// One slice's part in the relay, from its load to its end: its turn, its input, its output.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "retort/v1/worker_service.pb.h"
#include "train/stages/slice.h"
#include "worker/relay/prefetcher.h"
#include "worker/relay/relay.h"

namespace retort {

// Of the thread that trains.
class SliceRelay {
 public:
  // The slice is loaded; `run` is served from now on. `relay` outlives it.
  SliceRelay(Relay& relay, std::shared_ptr<const ServedRun> run, const v1::Slice& slice);
  // What it put out stays with the relay, for those above.
  ~SliceRelay();
  SliceRelay(const SliceRelay&) = delete;
  SliceRelay& operator=(const SliceRelay&) = delete;

  // Whether batch `step` may be trained on, after a second's wait at most. Held are the layers from `lowest`
  // to `highest`.
  bool AwaitTurn(int64_t step, int64_t lowest, int64_t highest, const std::atomic<bool>& stop);

  // For Slice::Step of that batch; valid until EndStep.
  PassRelay BeginStep(int64_t step, const std::atomic<bool>& stop);
  // After Slice::Step, also one that failed: how many teacher blocks it ran, and which batch comes next.
  void EndStep(int64_t teacher_blocks, int64_t next_step);

  // The fastest micro-batch from below since the load, for the slice or for those above that asked.
  double receive_seconds() const {
    return 1e-9 * static_cast<double>(relay_.state().counts().fastest_nanoseconds);
  }
  uint64_t received_bytes() const { return receive_seconds() > 0 ? slice_.limits.micro_batch_bytes : 0; }

 private:
  absl::StatusOr<Boundary> Input(int64_t step, int64_t pass, const std::atomic<bool>& stop);

  Relay& relay_;
  const std::shared_ptr<const ServedRun> run_;
  const StagePlan& plan_;
  RelayedSlice slice_;
  int64_t lowest_ = 0, highest_ = 0;
  std::unique_ptr<Prefetcher> prefetcher_;  // nullptr: it recomputes
};

}  // namespace retort
