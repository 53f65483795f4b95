// A slice: layers that train together on one teacher pass in stages 1 and 2, each at a step of its own.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "train/data/batches.h"
#include "train/stages/layer_trainer.h"
#include "train/stages/teacher_pass.h"

namespace retort {

struct TrainedLayer {
  int64_t layer = 0;
  double loss = 0;  // mean over the step's micro-batches
  // Of the layer's own part: loss, backward pass, optimiser. Layers that train side by side share what they
  // take together.
  double seconds = 0;
};

struct SliceStep {
  std::vector<TrainedLayer> layers;  // as asked for
  double teacher_seconds = 0;        // one teacher block's forward passes, mean over the blocks that ran
};

// A slice's place in a relay: who gives it the teacher's hidden states, and who wants those it comes to.
struct PassRelay {
  // A boundary, not above the layers that train, of micro-batch `pass` of batch `step`. An error ends the
  // step. Unset: the passes begin at the embedding.
  std::function<absl::StatusOr<Boundary>(int64_t step, int64_t pass)> input;
  // Gets hidden_states[output_boundary], which is above every layer that trains, before the step is applied.
  // Unset: nobody wants it.
  int64_t output_boundary = 0;
  std::function<void(int64_t step, int64_t pass, const at::Tensor& hidden_BTE)> output;
};

// Whether what a layer learns has the same bits on any number of threads, as our kernels and MKL's strict
// products have. LibTorch cuts by threads, and rounds otherwise at the cuts, softplus (of the steps in stage
// 1, above its grain, and in the discrete mixer), the GELU of an MLP without a gate, and what
// RETORT_KERNELS=off computes.
bool LearnsAlikeOnAnyThreads(const StagePlan& plan, const ModelConfig& student);

// The teacher runs without gradients up to the last layer that trains; these learn from their blocks as the
// pass goes by, some of them side by side. What a layer becomes depends on the batches that it trained on
// alone, not on the layers beside it. Not thread-safe.
class Slice {
 public:
  // `teacher`, `student` and `batches` must outlive the slice; of the teacher only embedding and blocks up to
  // the last layer, or the relay's output, are used, of the student only the layers themselves. `layers`:
  // converted layers, ascending. `side_by_side`: so many layers at a time have a thread each and their
  // activations in memory, where that keeps most threads busy; else they take turns on all threads. 1, or
  // more where LearnsAlikeOnAnyThreads.
  Slice(const StagePlan& plan, const LanguageModel& teacher, LanguageModel& student, const Batches& batches,
        const std::vector<int64_t>& layers, int64_t side_by_side);

  // One optimiser step on batch `step` of these of the slice's layers, ascending, at least one. After an
  // error no layer has applied it; CANCELLED soon after `stop` is set.
  absl::StatusOr<SliceStep> Step(int64_t step, const std::vector<int64_t>& layers,
                                 const std::atomic<bool>& stop, const PassRelay& relay = {});

  // After an error of Step: the layer at fault; none when it is not one layer's fault.
  std::optional<int64_t> failed_layer() const { return failed_layer_; }

  // Forward passes of teacher blocks in the last Step, also in one that ended with an error.
  int64_t teacher_blocks() const { return work_.blocks; }

  // Another converted layer trains.
  void Add(int64_t layer);

  // The layer trains no more; its optimiser's memory is free again.
  void Drop(int64_t layer);

  LayerTrainer& trainer(int64_t layer) { return *trainers_.at(layer); }

 private:
  // Gradients of the whole step in the layers of `result`, where losses and times are added up.
  absl::Status Accumulate(int64_t step, const std::atomic<bool>& stop, const PassRelay& relay,
                          SliceStep& result);
  absl::Status AccumulatePass(int64_t step, int64_t pass, const PassRelay& relay, SliceStep& result);
  // What a layer learns from in a pass.
  struct Lesson {
    TrainedLayer* trained;
    BlockTaps taps;
  };
  // These layers' part of a pass.
  absl::Status Learn(int64_t step, int64_t pass, const RotaryTable& rotary,
                     const std::vector<Lesson>& lessons);

  StagePlan plan_;
  int64_t side_by_side_;
  const LanguageModel& teacher_;
  LanguageModel& student_;
  const Batches& batches_;
  std::map<int64_t, std::unique_ptr<LayerTrainer>> trainers_;
  std::optional<int64_t> failed_layer_;
  TeacherWork work_;  // of the last Step
};

}  // namespace retort
