// What the slices of one run share on a worker: the teacher as far up as it was needed so far, the training
// text, the shapes. Kept from slice to slice, so that stage 2 of the layers that were trained in stage 1
// loads nothing again.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "model/io/shared_tensors.h"
#include "model/lm/language_model.h"
#include "retort/v1/job.pb.h"
#include "retort/v1/work.pb.h"
#include "train/data/batches.h"
#include "worker/run/input_hashes.h"

namespace retort {

// Not thread-safe. Models and batches that it gives out live as long as whoever holds them.
class RunMaterial {
 public:
  // Reads the teacher's config.json and opens the training text. INVALID_ARGUMENT when the job does not fit
  // the teacher or the text is another tokenizer's. The teacher's tensors are shared with the other workers
  // of this machine that name the same `weights_directory`; none: they are this process's own.
  static absl::StatusOr<RunMaterial> Open(
      const v1::JobSpec& job, RunInputs inputs, const v1::InputHashes& hashes,
      const std::optional<std::filesystem::path>& weights_directory = std::nullopt);

  // Whether it is that of this job on these inputs.
  bool IsOf(const v1::JobSpec& job, const RunInputs& inputs, const v1::InputHashes& hashes) const;

  // The teacher with embedding and blocks 0 to blocks - 1 at least; with `blocks` one above their number
  // whole. Errors of LoadBlocks.
  absl::StatusOr<LanguageModel> Teacher(int64_t blocks);

  // Lets go of the teacher's blocks from `blocks` on, and of final norm and head.
  void ReleaseTeacherFrom(int64_t blocks);
  // Of the teacher's tensors that are there.
  uint64_t teacher_bytes() const;
  // Of these what was to be shared, and could not be: this process has a copy of its own.
  uint64_t unshared_bytes() const;

  const ModelConfig& teacher_config() const { return teacher_.config; }
  const ModelConfig& student_config() const { return student_config_; }
  const RunInputs& inputs() const { return inputs_; }
  const std::shared_ptr<const Batches>& batches() const { return batches_; }
  const std::optional<SharedTensors>& shared_weights() const { return shared_weights_; }

 private:
  RunMaterial() = default;

  std::string job_;  // what of the job decides numbers
  RunInputs inputs_;
  std::string hashes_;
  LanguageModel teacher_;  // the tensors that were not needed yet are undefined
  std::optional<SharedTensors> shared_weights_;
  ModelConfig student_config_;
  std::shared_ptr<const Batches> batches_;
};

}  // namespace retort
