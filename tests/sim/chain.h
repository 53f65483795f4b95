// Training as the simulator does it: a chain of hashes over run seed, stage, layer, step and everything that
// a checkpoint carries. A step that is repeated, left out, taken from another's state or of another run
// changes all that follows, and the result in the end. Pure but for ChainWork.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "retort/v1/job.pb.h"
#include "retort/v1/worker_service.pb.h"
#include "worker/agent/slice_work.h"

namespace retort::sim {

// One layer's, or END_TO_END's, state after some steps.
struct ChainState {
  uint64_t step = 0;
  uint64_t student = 0;
  uint64_t adam = 0;
  uint64_t measured = 0;  // END_TO_END: of the hand-over
  std::vector<double> losses = {};
  friend bool operator==(const ChainState&, const ChainState&) = default;
};

void TakeStep(const v1::JobSpec& job, v1::Stage stage, uint32_t layer, ChainState& state);

SavedLayer Save(const v1::JobSpec& job, v1::Stage stage, uint32_t layer, const ChainState& state);
// DATA_LOSS when the tensors are not those of a checkpoint. Without the optimiser's: what a later stage
// takes.
absl::StatusOr<ChainState> Restore(const SavedLayer& saved);

// A probe finds the last layers the best to keep.
v1::PreparedRun Prepare(const v1::JobSpec& job, uint32_t teacher_layers);
SavedLayer MakeResult(const v1::JobSpec& job, const ChainState& state);

// A job whose third step of stage 1's (or, without it, END_TO_END's) first layer always fails, by its own
// fault.
inline bool IsDoomed(const v1::JobSpec& job) { return job.name().starts_with("doomed"); }

// What an undisturbed run has.
class Undisturbed {
 public:
  Undisturbed(v1::JobSpec job, uint32_t teacher_layers);

  const v1::JobSpec& job() const { return job_; }
  const ChainState& StateAt(v1::Stage stage, uint32_t layer, uint64_t step);
  std::string ResultFile();

 private:
  ChainState First(v1::Stage stage, uint32_t layer);

  const v1::JobSpec job_;
  std::vector<uint32_t> layers_;  // converted ones
  std::map<std::pair<int, uint32_t>, std::vector<ChainState>> states_;
};

// A slice's training.
class ChainWork {
 public:
  // `fetched`: what was loaded for each of slice.layers that names a checkpoint, and of each hand-over.
  static absl::StatusOr<ChainWork> Load(const v1::Slice& slice, const std::vector<SavedLayer>& fetched);

  // Those whose next step a doomed job never survives.
  std::vector<uint32_t> DoomedLayers() const;
  StepReport Step(double seconds_per_layer);
  std::vector<SavedLayer> Copy(const std::vector<uint32_t>& layers) const;
  void Drop(const std::vector<uint32_t>& layers);
  SavedLayer Result() const { return MakeResult(slice_.job(), layers_.at(0).state); }
  size_t layers() const { return layers_.size(); }
  uint64_t next_step() const;  // of the slowest layer
  uint32_t highest_layer() const { return layers_.rbegin()->first; }
  bool is_of_layers() const { return slice_.stage() != v1::STAGE_END_TO_END; }
  // Whether this is a rank that trains only with the others of its run. Rank 0 takes the steps of all.
  bool is_in_gang() const { return slice_.gang().world_size() > 1; }
  // Whether another rank takes the steps.
  bool is_led() const { return slice_.stage() == v1::STAGE_END_TO_END && slice_.layers(0).layer() != 0; }

 private:
  struct Layer {
    ChainState state;
    uint64_t total_steps = 0;
  };

  explicit ChainWork(v1::Slice slice) : slice_(std::move(slice)) {}

  v1::Slice slice_;
  std::map<uint32_t, Layer> layers_;
};

}  // namespace retort::sim
