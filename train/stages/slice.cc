#include "train/stages/slice.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/status_macros.h"
#include "model/lm/torch_seam.h"

namespace retort {

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
                                      const std::atomic<bool>& stop, const PassRelay& relay) {
  RETORT_CHECK(!layers.empty()) << "step " << step;
  failed_layer_.reset();
  work_ = {};
  SliceStep result;
  for (int64_t layer : layers) result.layers.push_back({.layer = layer});
  if (const absl::Status status = Accumulate(step, stop, relay, result); !status.ok()) {
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

absl::Status Slice::Accumulate(int64_t step, const std::atomic<bool>& stop, const PassRelay& relay,
                               SliceStep& result) {
  for (int64_t pass = 0; pass < plan_.micro_batches; ++pass) {
    if (stop.load()) return absl::CancelledError("training stopped");
    const std::string doing = absl::StrCat(StageName(plan_.stage), ", step ", step + 1, ", teacher");
    RETURN_IF_ERROR(CatchTorch(doing, [&] { return AccumulatePass(step, pass, relay, result); }));
  }
  result.teacher_seconds =
      work_.seconds * static_cast<double>(plan_.micro_batches) / static_cast<double>(work_.blocks);
  return absl::OkStatus();
}

absl::Status Slice::AccumulatePass(int64_t step, int64_t pass, const PassRelay& relay, SliceStep& result) {
  ASSIGN_OR_RETURN(Boundary input, relay.input ? relay.input(step, pass)
                                               : EmbedMicroBatch(plan_, teacher_, batches_, step, pass));
  TeacherPass teacher(teacher_, std::move(input), work_);
  const int64_t end = relay.output ? relay.output_boundary : -1;
  for (TrainedLayer& trained : result.layers) {
    teacher.AdvanceTo(trained.layer);
    const bool ends_here = &trained == &result.layers.back() && end < 0 && !NeedsBlockOutput(plan_);
    const BlockTaps taps = ends_here ? teacher.TapMixer() : teacher.TapBlock();
    if (teacher.boundary() == end) relay.output(step, pass, teacher.hidden_BTE());
    RETURN_IF_ERROR(Learn(step, pass, taps, teacher.rotary(), trained));
  }
  if (teacher.boundary() < end) {  // the layers between have no part in this batch
    teacher.AdvanceTo(end);
    relay.output(step, pass, teacher.hidden_BTE());
  }
  return absl::OkStatus();
}

absl::Status Slice::Learn(int64_t step, int64_t pass, const BlockTaps& taps, const RotaryTable& rotary,
                          TrainedLayer& trained) {
  const double begin = MonotonicSeconds();
  const absl::StatusOr<double> loss = trainer(trained.layer).Accumulate(step, taps, rotary);
  if (absl::IsInternal(loss.status()))
    failed_layer_ = trained.layer;  // the others: no memory, which is nobody's fault
  if (!loss.ok()) return loss.status();
  if (pass + 1 == plan_.micro_batches) {  // while the caches hold the gradients
    const absl::Status status = trainer(trained.layer).CheckAccumulated(step);
    if (!status.ok()) failed_layer_ = trained.layer;
    RETURN_IF_ERROR(status);
  }
  trained.loss += *loss;
  trained.seconds += MonotonicSeconds() - begin;
  return absl::OkStatus();
}

}  // namespace retort
