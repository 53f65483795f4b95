// The one file that a run resumes from: OUT/checkpoint.safetensors, replaced atomically.
//
// Tensors: `student/NAME`, every student tensor that is not the teacher's memory; within a stage also
// `adam/NAME/m` and `adam/NAME/v` of what the stage trains. Metadata: `state`, the JSON of RunState.
#pragma once

#include <filesystem>
#include <optional>

#include "absl/status/statusor.h"
#include "model/io/safetensors.h"
#include "model/lm/language_model.h"
#include "nlohmann/json.hpp"
#include "train/optim/adamw.h"

namespace retort {

// Where a run stands.
struct RunState {
  nlohmann::json identity;    // run_identity.h
  int64_t stage = 0;          // index into PlanStages(job)
  int64_t step = 0;           // steps of it applied; equal to its steps: only its evaluation is missing
  double seconds = 0;         // wall time of the run so far, over all processes
  double stage_seconds = 0;   // of it, training of this stage
  int64_t metrics_bytes = 0;  // length of metrics.jsonl at this state
  int64_t peak_memory_bytes = 0;
  double loss_first = 0;  // of this stage: mean over layers at its first step, and at the last applied
  double loss_last = 0;
  nlohmann::json result;  // result.json as far as it is known
};

// `optimizers` are those of the stage under way, each at state.step.
absl::Status SaveCheckpoint(const std::filesystem::path& file, const RunState& state,
                            const LanguageModel& teacher, const LanguageModel& student,
                            const std::vector<AdamW*>& optimizers);

// An opened checkpoint. DATA_LOSS when the file is not whole.
class Checkpoint {
 public:
  // Nothing when there is no such file.
  static absl::StatusOr<std::optional<Checkpoint>> Open(const std::filesystem::path& file);

  const RunState& state() const { return state_; }

  // Replaces the student's tensors by the saved ones. Before trainers are made.
  absl::Status LoadStudent(LanguageModel& student) const;

  // Fills the optimiser's moments and counter.
  absl::Status LoadOptimizer(AdamW& optimizer) const;

 private:
  explicit Checkpoint(SafetensorsFile file) : file_(std::move(file)) {}

  SafetensorsFile file_;
  RunState state_;
};

}  // namespace retort
