// The teacher's way through its blocks with one micro-batch of stage 1 or 2, without gradients, from the
// embedding or from a boundary that somebody else computed: the bits are the same.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "model/lm/language_model.h"
#include "train/data/batches.h"
#include "train/stages/stage_plan.h"

namespace retort {

// hidden_states[boundary]: what block `boundary` takes in. At 0 the embedding's output.
struct Boundary {
  int64_t boundary = 0;
  at::Tensor hidden_BTE;
};

// What teacher passes took, added up.
struct TeacherWork {
  int64_t blocks = 0;  // block forward passes, those that ended with the mixer too
  double seconds = 0;  // of them
};

// Sequences first .. first + plan.micro_batch - 1 of the plan's stage as int64 ids, [B, T].
absl::StatusOr<at::Tensor> ReadMicroBatch(const StagePlan& plan, const Batches& batches,
                                          int64_t first_sequence);

// The micro-batch `pass` of batch `step` at boundary 0.
absl::StatusOr<Boundary> EmbedMicroBatch(const StagePlan& plan, const LanguageModel& teacher,
                                         const Batches& batches, int64_t step, int64_t pass);

// Not thread-safe; several may run beside each other.
class TeacherPass {
 public:
  // `teacher`, of which it needs the blocks that it is to run, and `work`, which it adds to, outlive it.
  TeacherPass(const LanguageModel& teacher, Boundary input, TeacherWork& work);

  int64_t boundary() const { return at_.boundary; }
  const at::Tensor& hidden_BTE() const { return at_.hidden_BTE; }
  const RotaryTable& rotary() const { return rotary_; }

  // Runs the blocks below `boundary`, which is not below where it stands.
  void AdvanceTo(int64_t boundary);
  // Runs one block and shows it.
  BlockTaps TapBlock();
  // Runs one block up to its mixer. The pass ends there.
  BlockTaps TapMixer();

 private:
  const LanguageModel& teacher_;
  Boundary at_;
  TeacherWork& work_;
  RotaryTable rotary_;
};

}  // namespace retort
