#include "train/stages/layer_trainer.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/status_macros.h"
#include "model/lm/torch_seam.h"
#include "train/optim/schedule.h"
#include "train/stages/guards.h"
#include "train/stages/losses.h"

namespace retort {
namespace {

std::string LayerName(int64_t layer) { return absl::StrCat("layer ", layer); }

void OwnNormsAndMlp(LanguageModel& student, int64_t layer) {
  for (const auto& tensor : BlockTensors(student, layer)) {
    if (!tensor.of_student_mixer) *tensor.value = tensor.value->detach().clone();
  }
}

}  // namespace

std::vector<Trainable> LayerTrainables(const StagePlan& plan, LanguageModel& student, int64_t layer) {
  const bool whole_block = plan.stage == Stage::kHiddenStateAlignment && plan.scope == v1::TRAIN_SCOPE_BLOCK;
  std::vector<Trainable> trainables;
  for (const auto& tensor : BlockTensors(student, layer)) {
    const bool trains =
        plan.stage == Stage::kMatrixOrientation ? tensor.in_matrix : tensor.of_student_mixer || whole_block;
    if (trains) trainables.push_back({tensor.name, *tensor.value, tensor.is_matrix});
  }
  return trainables;
}

LayerTrainer::LayerTrainer(const StagePlan& plan, LanguageModel& student, int64_t layer)
    : plan_(plan), student_(student), layer_(layer) {
  RETORT_CHECK(plan.stage != Stage::kEndToEnd && student.converted(layer)) << LayerName(layer);
  if (plan.stage == Stage::kHiddenStateAlignment && plan.scope == v1::TRAIN_SCOPE_BLOCK) {
    OwnNormsAndMlp(student, layer);
  }
  JoinProjections(std::get<Mamba2Weights>(student.blocks[layer].mixer));
  optimizer_ = std::make_unique<AdamW>(LayerTrainables(plan, student, layer));
  for (const Trainable& trainable : optimizer_->trainables()) trainable.value.requires_grad_(true);
}

LayerTrainer::~LayerTrainer() {
  for (const Trainable& trainable : optimizer_->trainables()) {
    trainable.value.mutable_grad().reset();
    trainable.value.requires_grad_(false);
  }
}

at::Tensor LayerTrainer::Loss(const BlockTaps& taps, const RotaryTable& rotary) const {
  if (plan_.stage == Stage::kMatrixOrientation) {
    const auto& mixer = std::get<Mamba2Weights>(student_.blocks[layer_].mixer);
    return MatrixOrientationLoss(MatrixParts(taps.normed_BTE, mixer, student_.config.mamba2), taps.attention);
  }
  if (plan_.target == v1::ALIGNMENT_TARGET_MIXER) {
    return HiddenStateLoss(RunMixer(student_, layer_, taps.normed_BTE, rotary), taps.mixer_BTE);
  }
  return HiddenStateLoss(RunBlock(student_, layer_, taps.input_BTE, rotary, nullptr), taps.output_BTE);
}

absl::StatusOr<double> LayerTrainer::Accumulate(int64_t step, const BlockTaps& taps,
                                                const RotaryTable& rotary) {
  const std::string doing =
      absl::StrCat(StageName(plan_.stage), ", step ", step + 1, ", ", LayerName(layer_));
  return CatchTorch(doing, [&]() -> absl::StatusOr<double> {
    const at::Tensor loss = Loss(taps, rotary);
    const double value = loss.item<double>();
    RETURN_IF_ERROR(CheckLoss(plan_.stage, step, LayerName(layer_), value, student_.config.vocab_size));
    (loss / static_cast<double>(plan_.micro_batches)).backward();
    return value;
  });
}

absl::Status LayerTrainer::CheckAccumulated(int64_t step) const {
  return CheckGradients(plan_.stage, step, LayerName(layer_), optimizer_->trainables());
}

void LayerTrainer::Apply(int64_t step) { optimizer_->Step(WsdRate(step, plan_.steps, plan_.lr)); }

}  // namespace retort
