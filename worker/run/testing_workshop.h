// The tiny job in a workshop without an orchestrator: this header plays its part, for tests.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "core/base/check.h"
#include "core/config/job_file.h"
#include "worker/run/testing_gang.h"
#include "worker/run/this_machine.h"
#include "worker/run/torch_workshop.h"

namespace retort {

inline const std::filesystem::path kTinyJobDirectory =
    std::filesystem::path(RETORT_SOURCE_DIR) / "tests/golden/tiny";

inline v1::JobSpec TinyJobFile() { return LoadJob(kTinyJobDirectory / "job.yaml", {}).value(); }

inline v1::Slice PrepareSlice(const v1::JobSpec& job) {
  v1::Slice slice;
  slice.set_token(1);
  slice.set_run_id(1);
  slice.set_stage(v1::STAGE_PREPARE);
  *slice.mutable_job() = job;
  return slice;
}

// Keeps what was copied as the orchestrator keeps what was published.
class KeptCheckpoints : public CheckpointSource {
 public:
  v1::CheckpointRef Keep(v1::Stage stage, SavedLayer saved) {
    v1::CheckpointRef ref;
    ref.set_stage(stage);
    ref.set_layer(saved.layer);
    ref.set_publish(++publishes_);
    kept_[ref.publish()] = std::move(saved);
    return ref;
  }

  absl::StatusOr<SavedLayer> Fetch(const v1::CheckpointRef& checkpoint,
                                   std::string_view name_prefix) override {
    fetched_.emplace_back(checkpoint.publish(), name_prefix);
    const SavedLayer& kept = kept_.at(checkpoint.publish());
    SavedLayer saved = {.layer = kept.layer, .step = kept.step, .loss = kept.loss, .tensors = {}};
    for (const SavedTensor& tensor : kept.tensors) {
      if (tensor.name.rfind(name_prefix, 0) == 0) saved.tensors.push_back(tensor);
    }
    return saved;
  }

  SavedLayer& at(const v1::CheckpointRef& ref) { return kept_.at(ref.publish()); }
  // {publish, prefix} of each call.
  std::vector<std::pair<uint64_t, std::string>> fetched_;

 private:
  uint64_t publishes_ = 0;
  std::map<uint64_t, SavedLayer> kept_;
};

// One run as the orchestrator sees it.
class WorkshopRun {
 public:
  explicit WorkshopRun(v1::JobSpec job) : job_(std::move(job)) {}

  void Prepare(Workshop& workshop) {
    const absl::StatusOr<v1::PreparedRun> prepared = workshop.Prepare(PrepareSlice(job_), kNever);
    RETORT_CHECK(prepared.ok()) << prepared.status().ToString();
    prepared_ = *prepared;
  }

  // A slice of these layers from where they stand; END_TO_END: of layer 0.
  v1::Slice Slice(v1::Stage stage, const std::vector<uint32_t>& layers, uint64_t total_steps) {
    v1::Slice slice;
    slice.set_token(++token_);
    slice.set_run_id(1);
    slice.set_stage(stage);
    *slice.mutable_job() = job_;
    *slice.mutable_inputs() = prepared_.inputs();
    *slice.mutable_numerics() = NumericsHere(job_.micro_batch());
    slice.set_input(v1::INPUT_SOURCE_RECOMPUTE);
    for (const uint32_t layer : layers) {
      v1::SliceLayer& row = *slice.add_layers();
      row.set_layer(layer);
      row.set_total_steps(total_steps);
      if (const auto at = last_.find({stage, layer}); at != last_.end()) {
        *row.mutable_checkpoint() = at->second;
        row.set_next_step(kept.at(at->second).step);
      } else if (stage == v1::STAGE_HIDDEN_STATE_ALIGNMENT) {
        const auto before = last_.find({v1::STAGE_MATRIX_ORIENTATION, layer});
        if (before != last_.end()) *row.mutable_checkpoint() = before->second;
      }
    }
    if (stage == v1::STAGE_END_TO_END) {
      for (const auto& [task, ref] : last_) {
        if (task.first != v1::STAGE_END_TO_END) *slice.add_handover() = ref;
      }
    }
    return slice;
  }

  void Publish(v1::Stage stage, SliceWork& work, const std::vector<uint32_t>& layers) {
    for (SavedLayer& saved : work.Copy(layers)) {
      const uint32_t layer = saved.layer;
      last_[{stage, layer}] = kept.Keep(stage, std::move(saved));
    }
  }

  // Trains `layers` from where they stand for `steps` batches of the slowest, and publishes them.
  void Train(Workshop& workshop, v1::Stage stage, const std::vector<uint32_t>& layers, int steps) {
    const v1::Slice slice = Slice(stage, layers, kSteps);
    const auto work = workshop.Load(slice, kept, alone, kNever, [](const LoadProgress&) {});
    RETORT_CHECK(work.ok()) << work.status().ToString();
    for (int step = 0; step < steps; ++step) {
      const auto report = (*work)->Step(kNever);
      RETORT_CHECK(report.ok()) << report.status().ToString();
    }
    Publish(stage, **work, layers);
  }

  static constexpr uint64_t kSteps = 20;  // of each stage of the tiny job
  static inline const std::atomic<bool> kNever = false;

  KeptCheckpoints kept;
  NoGang alone;
  std::map<std::pair<v1::Stage, uint32_t>, v1::CheckpointRef> last_;

 private:
  v1::JobSpec job_;
  v1::PreparedRun prepared_;
  uint64_t token_ = 0;
};

}  // namespace retort
