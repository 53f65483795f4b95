// A step of each stage as the official MOHAWK framework writes it (goombalab/mohawk, distill_steps), on plain
// LibTorch: eager attention that keeps its [B, H, T, T] probabilities, the student's mixing matrices built in
// full, einsum SSD, full logits with log_softmax, the losses of all layers added up for one backward pass.
#pragma once

#include <memory>
#include <vector>

#include "model/lm/language_model.h"
#include "train/optim/adamw.h"
#include "train/stages/stage_plan.h"

namespace retort {

// What a layer of the student learns from.
struct PlainTaps {
  at::Tensor input_BTE, normed_BTE, matrix_BHTT, mixer_BTE, output_BTE;
};

class PlainStep {
 public:
  // Both models must outlive this; every layer of `student` is converted. `layer_by_layer`: a backward pass
  // for each layer as soon as the teacher has run it, because all layers' matrices do not fit this machine.
  PlainStep(const StagePlan& plan, const LanguageModel& teacher, LanguageModel& student, bool layer_by_layer);
  ~PlainStep();
  PlainStep(const PlainStep&) = delete;
  PlainStep& operator=(const PlainStep&) = delete;

  void Run(const at::Tensor& ids_BT);

  // Stage 1 of one layer: the teacher's attention on `normed_BTE` and all that the student does with it.
  void RunMatrixOf(int64_t layer, const at::Tensor& normed_BTE, const RotaryTable& rotary);

 private:
  void AlignLayers(const at::Tensor& ids_BT);
  void LearnDistribution(const at::Tensor& ids_BT);
  at::Tensor LayerLoss(int64_t layer, const PlainTaps& taps) const;

  StagePlan plan_;
  const LanguageModel& teacher_;
  LanguageModel& student_;
  bool layer_by_layer_;
  std::unique_ptr<AdamW> optimizer_;
};

}  // namespace retort
