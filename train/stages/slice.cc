#include "train/stages/slice.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/clock.h"
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
    : plan_(plan), teacher_(teacher), student_(student), batches_(batches) {
  for (int64_t layer : layers) Add(layer);
}

absl::StatusOr<SliceStep> Slice::Step(int64_t step, const std::vector<int64_t>& layers,
                                      const std::atomic<bool>& stop) {
  RETORT_CHECK(!layers.empty()) << "step " << step;
  failed_layer_.reset();
  SliceStep result;
  for (int64_t layer : layers) result.layers.push_back({.layer = layer});
  if (const absl::Status status = Accumulate(step, stop, result); !status.ok()) {
    for (int64_t layer : layers) trainer(layer).optimizer().ClearGradients();
    return status;
  }
  for (TrainedLayer& trained : result.layers) {
    const double begin = MonotonicSeconds();
    trainer(trained.layer).Apply(step);
    trained.seconds += MonotonicSeconds() - begin;
    trained.loss /= static_cast<double>(plan_.micro_batches);
  }
  return result;
}

void Slice::Add(int64_t layer) { trainers_[layer] = std::make_unique<LayerTrainer>(plan_, student_, layer); }

void Slice::Drop(int64_t layer) { RETORT_CHECK(trainers_.erase(layer) == 1) << "layer " << layer; }

absl::Status Slice::Accumulate(int64_t step, const std::atomic<bool>& stop, SliceStep& result) {
  for (int64_t pass = 0; pass < plan_.micro_batches; ++pass) {
    if (stop.load()) return absl::CancelledError("training stopped");
    const std::string doing = absl::StrCat(StageName(plan_.stage), ", step ", step + 1, ", teacher");
    RETURN_IF_ERROR(CatchTorch(doing, [&] { return AccumulatePass(step, pass, result); }));
  }
  return absl::OkStatus();
}

absl::Status Slice::AccumulatePass(int64_t step, int64_t pass, SliceStep& result) {
  ASSIGN_OR_RETURN(const at::Tensor ids_BT,
                   ReadMicroBatch(plan_, batches_, plan_.first_sequence(step, pass)));
  const RotaryTable rotary = RotaryFor(teacher_, plan_.seq_len);
  at::Tensor hidden = Embed(teacher_, ids_BT);
  const auto blocks = static_cast<double>(result.layers.back().layer + 1);
  auto next = result.layers.begin();
  for (int64_t layer = 0; next != result.layers.end(); ++layer) {
    const bool trains = next->layer == layer, last = next + 1 == result.layers.end();
    const double begin = MonotonicSeconds();
    BlockTaps taps;
    {
      const c10::NoGradGuard no_grad;
      if (trains && last && !NeedsBlockOutput(plan_)) {
        taps = TapMixer(teacher_, layer, hidden, rotary);
      } else {
        hidden = RunBlock(teacher_, layer, hidden, rotary, trains ? &taps : nullptr);
      }
    }
    const double shown = MonotonicSeconds();
    result.teacher_seconds += (shown - begin) / blocks;
    if (!trains) continue;
    const absl::StatusOr<double> loss = trainer(layer).Accumulate(step, taps, rotary);
    if (absl::IsInternal(loss.status()))
      failed_layer_ = layer;  // the others: no memory, which is nobody's fault
    if (!loss.ok()) return loss.status();
    if (pass + 1 == plan_.micro_batches) {  // while the caches hold the gradients
      const absl::Status status = trainer(layer).CheckAccumulated(step);
      if (!status.ok()) failed_layer_ = layer;
      RETURN_IF_ERROR(status);
    }
    next->loss += *loss;
    next->seconds += MonotonicSeconds() - shown;
    ++next;
  }
  return absl::OkStatus();
}

}  // namespace retort
