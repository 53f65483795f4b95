// A slice: layers that train together on one teacher pass in stages 1 and 2.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "train/data/batches.h"
#include "train/stages/layer_trainer.h"

namespace retort {

// The teacher runs without gradients up to the slice's last layer; each of the slice's layers learns from its
// block as the pass goes by, so at most one layer's activations are alive. Not thread-safe.
class Slice {
 public:
  // `teacher`, `student` and `batches` must outlive the slice. `layers`: converted layers, ascending.
  Slice(const StagePlan& plan, const LanguageModel& teacher, LanguageModel& student, const Batches& batches,
        const std::vector<int64_t>& layers);

  // One optimiser step of every layer. Returns each layer's loss, the mean over the step's micro-batches.
  // After an error no layer has applied the step; CANCELLED soon after `stop` is set.
  absl::StatusOr<std::vector<double>> Step(int64_t step, const std::atomic<bool>& stop);

  const std::vector<std::unique_ptr<LayerTrainer>>& trainers() const { return trainers_; }

 private:
  // Gradients of the whole step in every layer; their losses are added to `losses`.
  absl::Status Accumulate(int64_t step, const std::atomic<bool>& stop, std::vector<double>& losses);
  absl::Status AccumulatePass(int64_t step, int64_t pass, std::vector<double>& losses);

  StagePlan plan_;
  const LanguageModel& teacher_;
  const Batches& batches_;
  std::vector<std::unique_ptr<LayerTrainer>> trainers_;
};

// Sequences first .. first + plan.micro_batch - 1 of the plan's stage as int64 ids, [B, T].
absl::StatusOr<at::Tensor> ReadMicroBatch(const StagePlan& plan, const Batches& batches,
                                          int64_t first_sequence);

}  // namespace retort
