#include "train/stages/slice.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "model/lm/torch_seam.h"

namespace retort {

absl::StatusOr<at::Tensor> ReadMicroBatch(const StagePlan& plan, const Batches& batches,
                                          int64_t first_sequence) {
  ASSIGN_OR_RETURN(std::vector<int32_t> ids,
                   batches.Sequences(static_cast<int>(plan.stage), first_sequence, plan.micro_batch));
  return at::tensor(ids, at::kInt).to(at::kLong).view({plan.micro_batch, plan.seq_len});
}

namespace {

// Else the teacher's last block may stop after its mixer.
bool NeedsBlockOutput(const StagePlan& plan) {
  return plan.stage == Stage::kHiddenStateAlignment && plan.target == v1::ALIGNMENT_TARGET_BLOCK;
}

}  // namespace

Slice::Slice(const StagePlan& plan, const LanguageModel& teacher, LanguageModel& student,
             const Batches& batches, const std::vector<int64_t>& layers)
    : plan_(plan), teacher_(teacher), batches_(batches) {
  for (int64_t layer : layers) trainers_.push_back(std::make_unique<LayerTrainer>(plan, student, layer));
}

absl::StatusOr<std::vector<double>> Slice::Step(int64_t step, const std::atomic<bool>& stop) {
  std::vector<double> losses(trainers_.size(), 0.0);
  if (const absl::Status status = Accumulate(step, stop, losses); !status.ok()) {
    for (auto& trainer : trainers_) trainer->optimizer().ClearGradients();
    return status;
  }
  for (auto& trainer : trainers_) trainer->Apply(step);
  for (double& loss : losses) loss /= static_cast<double>(plan_.micro_batches);
  return losses;
}

absl::Status Slice::Accumulate(int64_t step, const std::atomic<bool>& stop, std::vector<double>& losses) {
  for (int64_t pass = 0; pass < plan_.micro_batches; ++pass) {
    if (stop.load()) return absl::CancelledError("training stopped");
    const std::string doing = absl::StrCat(StageName(plan_.stage), ", step ", step + 1, ", teacher");
    RETURN_IF_ERROR(CatchTorch(doing, [&] { return AccumulatePass(step, pass, losses); }));
  }
  for (const auto& trainer : trainers_) RETURN_IF_ERROR(trainer->CheckAccumulated(step));
  return absl::OkStatus();
}

absl::Status Slice::AccumulatePass(int64_t step, int64_t pass, std::vector<double>& losses) {
  ASSIGN_OR_RETURN(const at::Tensor ids_BT,
                   ReadMicroBatch(plan_, batches_, plan_.first_sequence(step, pass)));
  const RotaryTable rotary = RotaryFor(teacher_, plan_.seq_len);
  at::Tensor hidden = Embed(teacher_, ids_BT);
  size_t next = 0;
  for (int64_t layer = 0; next < trainers_.size(); ++layer) {
    const bool trained = trainers_[next]->layer() == layer;
    BlockTaps taps;
    {
      const c10::NoGradGuard no_grad;
      if (trained && next + 1 == trainers_.size() && !NeedsBlockOutput(plan_)) {
        taps = TapMixer(teacher_, layer, hidden, rotary);
      } else {
        hidden = RunBlock(teacher_, layer, hidden, rotary, trained ? &taps : nullptr);
      }
    }
    if (!trained) continue;
    ASSIGN_OR_RETURN(const double loss, trainers_[next]->Accumulate(step, taps, rotary));
    losses[next++] += loss;
  }
  return absl::OkStatus();
}

}  // namespace retort
