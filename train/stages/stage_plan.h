// What a job's stages amount to: steps, accumulation, rates. Pure arithmetic over the job.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "retort/v1/job.pb.h"

namespace retort {

// Numbers decide which sequences a stage sees (train/data/batches.h): do not change them.
enum class Stage { kMatrixOrientation = 1, kHiddenStateAlignment = 2, kEndToEnd = 3 };

// "matrix_orientation" and so on, as in the job file.
const char* StageName(Stage stage);

struct StagePlan {
  Stage stage;
  int64_t steps;          // optimiser steps: ceil(tokens / tokens_per_step)
  int64_t micro_batches;  // passes per step whose gradients are added up
  int64_t micro_batch;    // sequences per pass
  int64_t seq_len;
  double lr;
  v1::AlignmentTarget target = v1::ALIGNMENT_TARGET_UNSPECIFIED;  // stage 2
  v1::TrainScope scope = v1::TRAIN_SCOPE_MIXER;
  v1::Labels labels = v1::LABELS_UNSPECIFIED;  // stage 3
  bool activation_checkpointing = false;       // stage 3

  int64_t tokens_per_step() const { return micro_batches * micro_batch * seq_len; }
  // Number of the first training sequence of a pass.
  int64_t first_sequence(int64_t step, int64_t pass) const {
    return (step * micro_batches + pass) * micro_batch;
  }
};

// The same steps in passes that `ranks` ranks can share out (PassSequences).
StagePlan SharedOut(StagePlan plan, int64_t ranks);

// The stages that the job asks for, in the order in which they run.
std::vector<StagePlan> PlanStages(const v1::JobSpec& job);

}  // namespace retort
