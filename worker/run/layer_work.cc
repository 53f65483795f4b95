#include "worker/run/layer_work.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/status_macros.h"
#include "core/base/work_names.h"
#include "model/student/make_student.h"
#include "worker/run/this_machine.h"

namespace retort {

LayerWork::LayerWork(const StagePlan& plan, LanguageModel teacher, LanguageModel student,
                     std::shared_ptr<const Batches> batches, int64_t side_by_side)
    : teacher_(std::move(teacher)),
      student_(std::move(student)),
      batches_(std::move(batches)),
      slice_(plan, teacher_, student_, *batches_, {}, side_by_side) {}

absl::StatusOr<std::unique_ptr<LayerWork>> LayerWork::Load(const v1::Slice& slice, const StagePlan& plan,
                                                           const RunMaterial& material, LanguageModel teacher,
                                                           int64_t side_by_side, CheckpointSource& source,
                                                           Relay* relay, const std::atomic<bool>& stop) {
  std::vector<int64_t> layers;
  for (const v1::SliceLayer& layer : slice.layers()) layers.push_back(layer.layer());
  LanguageModel student = MakeStudentLayers(teacher, material.student_config(), slice.job().student().init(),
                                            slice.job().data().seed(), layers);
  std::unique_ptr<LayerWork> work(
      new LayerWork(plan, std::move(teacher), std::move(student), material.batches(), side_by_side));
  for (const v1::SliceLayer& layer : slice.layers()) {
    if (stop.load()) return absl::CancelledError("loading stopped");
    RETURN_IF_ERROR(work->LoadLayer(slice, layer, source));
  }
  if (relay == nullptr) return work;
  auto served = std::make_shared<ServedRun>();
  served->run_id = slice.run_id();
  served->identity_sha256 = slice.identity_sha256();
  served->teacher_sha256 = slice.inputs().teacher_sha256();
  served->teacher = work->teacher_;
  served->blocks = layers.back() + 1;
  served->batches = material.batches();
  served->plans = PlanStages(slice.job());
  work->relay_ = std::make_unique<SliceRelay>(*relay, std::move(served), slice);
  return work;
}

absl::Status LayerWork::LoadLayer(const v1::Slice& slice, const v1::SliceLayer& layer,
                                  CheckpointSource& source) {
  Layer& held = layers_[layer.layer()];
  held.total_steps = layer.total_steps();
  if (!layer.has_checkpoint()) {
    if (layer.next_step() != 0) {
      return absl::DataLossError(absl::StrCat(StageName(slice.stage()), ", layer ", layer.layer(),
                                              " is at step ", layer.next_step(), " without a checkpoint"));
    }
    slice_.Add(layer.layer());
    return absl::OkStatus();
  }
  const v1::CheckpointRef& ref = layer.checkpoint();
  const bool of_this_stage = ref.stage() == slice.stage();
  ASSIGN_OR_RETURN(const SavedLayer saved, source.Fetch(ref, of_this_stage ? "" : "student/"));
  const std::string whose = absl::StrCat("the checkpoint of ", StageName(ref.stage()), ", layer ",
                                         ref.layer(), ", publish ", ref.publish());
  if (of_this_stage && saved.step != layer.next_step()) {
    return absl::DataLossError(absl::StrCat(whose, " is at step ", saved.step, ", not ", layer.next_step()));
  }
  const SavedTensors tensors(saved, whose);
  RETURN_IF_ERROR(LoadStudentTensors(tensors, layer.layer(), student_));
  slice_.Add(layer.layer());
  if (!of_this_stage) return absl::OkStatus();
  RETURN_IF_ERROR(LoadMoments(tensors, saved.step, slice_.trainer(layer.layer()).optimizer()));
  ASSIGN_OR_RETURN(held.history, LoadHistory(tensors, saved.step));
  held.copied_steps = held.history.steps();
  return absl::OkStatus();
}

std::vector<int64_t> LayerWork::NextBatch(int64_t& step) const {
  size_t slowest = std::numeric_limits<size_t>::max();
  for (const auto& [layer, held] : layers_) {
    if (held.history.steps() < held.total_steps) slowest = std::min(slowest, held.history.steps());
  }
  std::vector<int64_t> training;
  for (const auto& [layer, held] : layers_) {
    if (held.history.steps() == slowest && slowest < held.total_steps) training.push_back(layer);
  }
  RETORT_CHECK(!training.empty()) << "no layer has a next step";
  step = static_cast<int64_t>(slowest);
  return training;
}

absl::StatusOr<StepReport> LayerWork::Step(const std::atomic<bool>& stop) {
  UseComputeThreads();
  int64_t step = 0;
  const std::vector<int64_t> training = NextBatch(step);
  PassRelay pass_relay;
  if (relay_ != nullptr) {
    const bool may_train = relay_->AwaitTurn(step, layers_.begin()->first, layers_.rbegin()->first, stop);
    if (!may_train) return StepReport();
    pass_relay = relay_->BeginStep(step, stop);
  }
  const double begin = MonotonicSeconds();
  const absl::StatusOr<SliceStep> trained = slice_.Step(step, training, stop, pass_relay);
  if (relay_ != nullptr) {
    relay_->EndStep(slice_.teacher_blocks(), trained.ok() ? step + 1 : step);
  }
  if (!trained.ok()) return trained.status();
  const double share = (MonotonicSeconds() - begin) / static_cast<double>(training.size());
  StepReport report;
  report.teacher_seconds = trained->teacher_seconds;
  if (relay_ != nullptr) {
    report.received_bytes = relay_->received_bytes();
    report.receive_seconds = relay_->receive_seconds();
  }
  for (const TrainedLayer& layer : trained->layers) {
    StepHistory& history = layers_.at(static_cast<uint32_t>(layer.layer)).history;
    history.losses.push_back(layer.loss);
    history.seconds.push_back(share);
    report.layers.push_back({.layer = static_cast<uint32_t>(layer.layer),
                             .step = history.steps(),
                             .loss = layer.loss,
                             .seconds = layer.seconds});
  }
  return report;
}

std::vector<uint32_t> LayerWork::failed_layers() const {
  if (!slice_.failed_layer()) return {};
  return {static_cast<uint32_t>(*slice_.failed_layer())};
}

std::vector<SavedLayer> LayerWork::Copy(const std::vector<uint32_t>& layers) {
  std::vector<SavedLayer> copies;
  for (const uint32_t layer : layers) {
    Layer& held = layers_.at(layer);
    SavedLayer& saved = copies.emplace_back();
    saved.layer = layer;
    saved.step = held.history.steps();
    saved.loss = held.history.MeanLossFrom(held.copied_steps);
    SaveStudentTensors(student_, teacher_, layer, saved);
    SaveMoments(slice_.trainer(layer).optimizer(), saved);
    SaveHistory(held.history, saved);
    SortByName(saved);
    held.copied_steps = held.history.steps();
  }
  return copies;
}

void LayerWork::Drop(const std::vector<uint32_t>& layers) {
  for (const uint32_t layer : layers) {
    RETORT_CHECK(layers_.erase(layer) == 1) << "layer " << layer << " is not held";
    slice_.Drop(layer);
    student_.blocks[layer] = teacher_.blocks[layer];
    student_.blocks[layer].mixer = Mamba2Weights{};
  }
}

absl::StatusOr<SavedLayer> LayerWork::MakeResult(const std::atomic<bool>&) {
  RETORT_CHECK(false) << "a slice of layers has no result";
  return absl::InternalError("");
}

}  // namespace retort
