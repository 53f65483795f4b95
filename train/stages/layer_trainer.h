// Stages 1 and 2 of one layer: its loss, its gradients, its optimiser. It sees only what the teacher's block
// shows (BlockTaps), so layers train together, apart, or on different machines to the same bits.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "model/lm/language_model.h"
#include "train/optim/adamw.h"
#include "train/stages/stage_plan.h"

namespace retort {

// Not thread-safe. Trains the student's own tensors.
class LayerTrainer {
 public:
  // `student` must outlive the trainer and have layer `layer` converted. With scope BLOCK the layer's norms
  // and MLP in `student` are first replaced by copies, for they are the teacher's memory.
  LayerTrainer(const StagePlan& plan, LanguageModel& student, int64_t layer);
  ~LayerTrainer();
  LayerTrainer(const LayerTrainer&) = delete;
  LayerTrainer& operator=(const LayerTrainer&) = delete;

  // Adds one micro-batch's gradient for step `step`; returns its loss in the paper's units. Errors as in
  // guards.h.
  absl::StatusOr<double> Accumulate(int64_t step, const BlockTaps& taps, const RotaryTable& rotary);

  // Whether what was accumulated may be applied; the errors of CheckGradients.
  absl::Status CheckAccumulated(int64_t step) const;

  // Applies what was accumulated since the last call.
  void Apply(int64_t step);

  int64_t layer() const { return layer_; }
  AdamW& optimizer() { return *optimizer_; }

 private:
  at::Tensor Loss(const BlockTaps& taps, const RotaryTable& rotary) const;

  StagePlan plan_;
  LanguageModel& student_;
  int64_t layer_;
  std::unique_ptr<AdamW> optimizer_;
};

// The tensors of one converted layer that a stage trains: stage 1 those that enter the mixing matrix, stage 2
// the mixer or the block. Their names are those of the student's files.
std::vector<Trainable> LayerTrainables(const StagePlan& plan, LanguageModel& student, int64_t layer);

}  // namespace retort
