#include "train/stages/slice.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <numeric>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/status_macros.h"
#include "model/lm/torch_seam.h"
#include "model/ops/compute_path.h"

namespace retort {

namespace {

// Else the teacher's last block may stop after its mixer.
bool NeedsBlockOutput(const StagePlan& plan) {
  return plan.stage == Stage::kHiddenStateAlignment && plan.target == v1::ALIGNMENT_TARGET_BLOCK;
}

// Calls body(0) to body(count - 1), which need nothing of each other, and returns what each took. They run
// side by side, a thread each, where that keeps more than half of the threads busy, and else one after the
// other on all of them. Apart they need not wait for each other at each of the many small operations of a
// layer. Which of the two it is must change no bit.
template <typename Body>
std::vector<double> TimeEach(int64_t count, Body body) {
  std::vector<double> seconds(count);
  const auto run = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double start = MonotonicSeconds();
      body(i);
      seconds[i] = MonotonicSeconds() - start;
    }
  };
  const double start = MonotonicSeconds();
  if (2 * count > at::get_num_threads()) {
    at::parallel_for(0, count, /*grain_size=*/1, run);
  } else {
    run(0, count);
  }
  const double share = (MonotonicSeconds() - start) / std::accumulate(seconds.begin(), seconds.end(), 0.0);
  for (double& each : seconds) each *= share;
  return seconds;
}

}  // namespace

bool LearnsAlikeOnAnyThreads(const StagePlan& plan, const ModelConfig& student) {
  if (!KernelsOn() || student.mamba2.form == Mamba2Form::kDiscrete) return false;
  if (plan.stage == Stage::kMatrixOrientation) {
    return plan.micro_batch * plan.seq_len * student.mamba2.heads < at::internal::GRAIN_SIZE;
  }
  return plan.target == v1::ALIGNMENT_TARGET_MIXER || student.block().gated_mlp;
}

Slice::Slice(const StagePlan& plan, const LanguageModel& teacher, LanguageModel& student,
             const Batches& batches, const std::vector<int64_t>& layers, int64_t side_by_side)
    : plan_(plan), side_by_side_(side_by_side), teacher_(teacher), student_(student), batches_(batches) {
  RETORT_CHECK(side_by_side == 1 || LearnsAlikeOnAnyThreads(plan, student.config)) << side_by_side;
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
  const std::vector<double> seconds =
      TimeEach(layers.size(), [&](int64_t i) { trainer(layers[i]).Apply(step); });
  for (size_t i = 0; i < layers.size(); ++i) {
    result.layers[i].seconds += seconds[i];
    result.layers[i].loss /= static_cast<double>(plan_.micro_batches);
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
  std::vector<Lesson> lessons;
  for (TrainedLayer& trained : result.layers) {
    teacher.AdvanceTo(trained.layer);
    const bool is_last = &trained == &result.layers.back();
    const bool ends_here = is_last && end < 0 && !NeedsBlockOutput(plan_);
    lessons.push_back({&trained, ends_here ? teacher.TapMixer() : teacher.TapBlock()});
    if (teacher.boundary() == end) relay.output(step, pass, teacher.hidden_BTE());
    if (!is_last && static_cast<int64_t>(lessons.size()) < side_by_side_) continue;
    RETURN_IF_ERROR(Learn(step, pass, teacher.rotary(), lessons));
    lessons.clear();
  }
  if (teacher.boundary() < end) {  // the layers between have no part in this batch
    teacher.AdvanceTo(end);
    relay.output(step, pass, teacher.hidden_BTE());
  }
  return absl::OkStatus();
}

absl::Status Slice::Learn(int64_t step, int64_t pass, const RotaryTable& rotary,
                          const std::vector<Lesson>& lessons) {
  std::vector<absl::StatusOr<double>> losses(lessons.size());
  const std::vector<double> seconds = TimeEach(lessons.size(), [&](int64_t i) {
    LayerTrainer& learner = trainer(lessons[i].trained->layer);
    losses[i] = learner.Accumulate(step, lessons[i].taps, rotary);
    if (!losses[i].ok() || pass + 1 < plan_.micro_batches) return;
    const absl::Status status = learner.CheckAccumulated(step);  // while the caches hold the gradients
    if (!status.ok()) losses[i] = status;
  });
  for (size_t i = 0; i < lessons.size(); ++i) {
    TrainedLayer& trained = *lessons[i].trained;
    if (!losses[i].ok()) {
      // Else there was no memory, which is nobody's fault.
      if (absl::IsInternal(losses[i].status())) failed_layer_ = trained.layer;
      return losses[i].status();
    }
    trained.loss += *losses[i];
    trained.seconds += seconds[i];
  }
  return absl::OkStatus();
}

}  // namespace retort
