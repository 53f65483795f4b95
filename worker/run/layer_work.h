// A slice of stage 1 or 2 at work.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "retort/v1/worker_service.pb.h"
#include "train/stages/slice.h"
#include "worker/agent/slice_work.h"
#include "worker/relay/slice_relay.h"
#include "worker/run/run_material.h"
#include "worker/run/saved_tensors.h"

namespace retort {

// Between two calls each held layer stands at its own step. See SliceWork.
class LayerWork : public SliceWork {
 public:
  // `teacher` has the blocks up to the slice's last layer. The student's layers come from the checkpoints
  // that the slice names, else from the job's initial weights. `relay`, which outlives the result, may be
  // null: then the slice recomputes its input, and gives nobody its output. `side_by_side`: see Slice. Errors
  // as Workshop::Load.
  static absl::StatusOr<std::unique_ptr<LayerWork>> Load(const v1::Slice& slice, const StagePlan& plan,
                                                         const RunMaterial& material, LanguageModel teacher,
                                                         int64_t side_by_side, CheckpointSource& source,
                                                         Relay* relay, const std::atomic<bool>& stop);

  absl::StatusOr<StepReport> Step(const std::atomic<bool>& stop) override;
  std::vector<uint32_t> failed_layers() const override;
  std::vector<SavedLayer> Copy(const std::vector<uint32_t>& layers) override;
  void Drop(const std::vector<uint32_t>& layers) override;
  // Never called: only END_TO_END has a result.
  absl::StatusOr<SavedLayer> MakeResult(const std::atomic<bool>& stop) override;

 private:
  struct Layer {
    uint64_t total_steps = 0;
    StepHistory history;      // as long as the steps applied
    size_t copied_steps = 0;  // where the last checkpoint stands
  };

  LayerWork(const StagePlan& plan, LanguageModel teacher, LanguageModel student,
            std::shared_ptr<const Batches> batches, int64_t side_by_side);
  // Where the next batch is; the layers that train on it.
  std::vector<int64_t> NextBatch(int64_t& step) const;
  absl::Status LoadLayer(const v1::Slice& slice, const v1::SliceLayer& layer, CheckpointSource& source);

  const LanguageModel teacher_;
  LanguageModel student_;
  const std::shared_ptr<const Batches> batches_;
  Slice slice_;
  std::map<uint32_t, Layer> layers_;  // held ones
  std::unique_ptr<SliceRelay> relay_;
};

}  // namespace retort
