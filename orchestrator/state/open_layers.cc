#include "orchestrator/state/open_layers.h"

#include <algorithm>
#include <optional>

namespace retort::orchestrator {
namespace {

constexpr v1::Stage kLayerStages[] = {v1::STAGE_MATRIX_ORIENTATION, v1::STAGE_HIDDEN_STATE_ALIGNMENT};

std::vector<uint32_t> TaskLayers(const Run& run) {
  std::vector<uint32_t> layers;
  for (const auto& [id, task] : run.tasks) {
    const bool is_of_layer = id.stage == kLayerStages[0] || id.stage == kLayerStages[1];
    // Only those of the first stage that has tasks: the other one's are the same layers.
    if (!is_of_layer || (!layers.empty() && id.layer <= layers.back())) break;
    layers.push_back(id.layer);
  }
  return layers;
}

// One slice's work while its range grows upwards.
class SliceWork {
 public:
  SliceWork(const RunCosts* costs, std::optional<uint32_t> below) : costs_(costs), below_(below) {}

  void Add(const OpenLayer& layer) {
    ++layers_;
    last_layer_ = layer.layer;
    stage_ = layer.stage;
    steps_ = std::max(steps_, layer.remaining);
    later_steps_ = std::max(later_steps_, layer.later_steps);
    train_ += static_cast<double>(layer.remaining) * costs_->TrainWork(layer.stage, layer.layer);
    if (layer.later_steps > 0) {
      train_ += static_cast<double>(layer.later_steps) *
                costs_->TrainWork(v1::STAGE_HIDDEN_STATE_ALIGNMENT, layer.layer);
    }
  }

  double work() const {
    if (layers_ == 0) return 0;
    double work = train_ + static_cast<double>(steps_) * costs_->TeacherWork(stage_, below_, last_layer_);
    if (later_steps_ > 0) {
      work += static_cast<double>(later_steps_) *
              costs_->TeacherWork(v1::STAGE_HIDDEN_STATE_ALIGNMENT, below_, last_layer_);
    }
    return work;
  }
  size_t layers() const { return layers_; }
  uint32_t last_layer() const { return last_layer_; }

 private:
  const RunCosts* costs_;
  std::optional<uint32_t> below_;  // the layer that the slice below ends with
  size_t layers_ = 0;
  uint32_t last_layer_ = 0;
  v1::Stage stage_ = v1::STAGE_UNSPECIFIED;
  uint64_t steps_ = 0;
  uint64_t later_steps_ = 0;
  double train_ = 0;
};

}  // namespace

uint64_t ReportedStep(const Lease* lease, const v1::TaskRecord& task) {
  if (lease != nullptr) {
    for (const v1::LayerProgress& layer : lease->progress.layers()) {
      if (layer.layer() == task.layer()) {
        return std::min(std::max(layer.step(), task.step()), task.total_steps());
      }
    }
  }
  return task.step();
}

std::vector<OpenLayer> OpenLayersOf(const Moment& now, const State& state, const Run& run) {
  std::vector<OpenLayer> open;
  const std::vector<uint32_t> layers = TaskLayers(run);
  for (size_t position = 0; position < layers.size(); ++position) {
    const v1::TaskRecord* current = nullptr;
    uint64_t later_steps = 0;
    for (const v1::Stage stage : kLayerStages) {
      const auto task = run.tasks.find({stage, layers[position]});
      if (task == run.tasks.end() || task->second.state() == v1::TASK_STATE_DONE) continue;
      if (current == nullptr) {
        current = &task->second;
      } else {
        later_steps = task->second.total_steps();
      }
    }
    if (current == nullptr) continue;
    OpenLayer layer = {.layer = layers[position], .position = position, .stage = current->stage()};
    const Lease* lease = nullptr;
    if (current->state() == v1::TASK_STATE_LEASED) {
      layer.token = current->token();
      lease = state.FindLease(layer.token);
      if (state.FindWorker(lease->record.worker_id()) == nullptr) continue;
    }
    layer.is_waiting = lease == nullptr && current->not_before_unix_ms() > now.unix_ms;
    layer.remaining = current->total_steps() - ReportedStep(lease, *current);
    layer.later_steps = later_steps;
    open.push_back(layer);
  }
  return open;
}

bool AreNeighbours(const OpenLayer& lower, const OpenLayer& upper) {
  return lower.stage == upper.stage && lower.position + 1 == upper.position;
}

RangeTable TableOf(const v1::RunRecord& run, const RunCosts& costs, const std::vector<OpenLayer>& layers) {
  RangeTable table(layers.size(), static_cast<double>(SharedTeacherBytes(run.job(), run.shape())));
  for (size_t begin = 0; begin < layers.size(); ++begin) {
    const auto below = begin > 0 ? std::optional(layers[begin - 1].layer) : std::nullopt;
    SliceWork slice(&costs, below);
    double work_before = 0;  // of the finished slices of this range
    double bytes = 0, own_bytes = 0;
    for (size_t end = begin; end < layers.size(); ++end) {
      if (end > begin && !AreNeighbours(layers[end - 1], layers[end])) {
        work_before += slice.work();
        slice = SliceWork(&costs, below);
      }
      slice.Add(layers[end]);
      const double slice_bytes = SliceBytes(run.job(), run.shape(), slice.last_layer(), slice.layers());
      bytes = std::max(bytes, slice_bytes);
      own_bytes = std::max(own_bytes, slice_bytes - TeacherBytes(run.job(), run.shape(), slice.last_layer()));
      table.Set(begin, end + 1, work_before + slice.work(), bytes, own_bytes);
    }
  }
  return table;
}

}  // namespace retort::orchestrator
