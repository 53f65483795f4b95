// The workshop of a worker: LibTorch on this machine's processor.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "core/base/job_memory.h"
#include "core/base/log.h"
#include "train/stages/stage_plan.h"
#include "worker/agent/slice_work.h"
#include "worker/relay/relay.h"
#include "worker/run/input_hashes.h"
#include "worker/run/rank_state.h"
#include "worker/run/run_material.h"

namespace retort {

struct WorkshopOptions {
  std::vector<std::filesystem::path> roots;  // where relative paths of jobs lie, in the order of looking
  uint64_t memory_bytes = 0;                 // that a slice may take
  // Where the teacher's weights lie that the workers of this machine share; none: each has its own.
  std::optional<std::filesystem::path> weights_directory = {};
  double teacher_part = 1;  // that counts for this worker (core/base/job_memory.h)
};

// See Workshop. Keeps the material of the last run that it worked on. Not thread-safe: one call at a time.
class TorchWorkshop : public Workshop {
 public:
  // `log` and `relay` outlive the workshop. Without a relay (null) slices recompute their input, and give
  // nobody their output.
  TorchWorkshop(WorkshopOptions options, Log& log, Relay* relay = nullptr)
      : options_(std::move(options)), log_(log), relay_(relay) {}

  // Also refuses what training would refuse later: tokens outside the vocabulary, sequences longer than the
  // context, a student that does not fit the teacher (INVALID_ARGUMENT). FAILED_PRECONDITION when a probe of
  // layers does not fit memory_bytes.
  absl::StatusOr<v1::PreparedRun> Prepare(const v1::Slice& slice, const std::atomic<bool>& stop) override;

  absl::StatusOr<std::unique_ptr<SliceWork>> Load(
      const v1::Slice& slice, CheckpointSource& source, GangCalls& gang, const std::atomic<bool>& stop,
      const std::function<void(const LoadProgress&)>& on_progress) override;

 private:
  absl::StatusOr<v1::PreparedRun> PrepareInTorch(const v1::Slice& slice, const std::atomic<bool>& stop);
  absl::StatusOr<std::unique_ptr<SliceWork>> LoadInTorch(
      const v1::Slice& slice, CheckpointSource& source, GangCalls& gang, const std::atomic<bool>& stop,
      const std::function<void(const LoadProgress&)>& on_progress);
  // How many of the slice's layers may train side by side: what Slice takes.
  uint64_t SideBySide(const v1::Slice& slice, const StagePlan& plan, const MemoryNeed& need,
                      uint64_t planned_bytes) const;
  // Tells `on_progress` again when it takes more memory than planned: what could not be shared.
  absl::StatusOr<LanguageModel> LoadTeacher(const v1::Slice& slice, int64_t blocks, LoadProgress& progress,
                                            const std::function<void(const LoadProgress&)>& on_progress);
  // Makes `material_` that of this job; what is there already stays.
  absl::Status OpenMaterial(const v1::JobSpec& job, RunInputs inputs, const v1::InputHashes& hashes);

  const WorkshopOptions options_;
  Log& log_;
  Relay* const relay_;
  InputHasher hasher_;
  std::optional<RunMaterial> material_;
  std::optional<LeftRank> left_rank_;  // until a slice is loaded, or another run prepared
};

}  // namespace retort
