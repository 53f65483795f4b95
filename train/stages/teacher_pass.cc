#include "train/stages/teacher_pass.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <utility>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

// Counts one block while it lives, under a guard without gradients.
class BlockRun {
 public:
  explicit BlockRun(TeacherWork& work) : work_(work) {}
  ~BlockRun() {
    ++work_.blocks;
    work_.seconds += MonotonicSeconds() - begin_;
  }

 private:
  TeacherWork& work_;
  const double begin_ = MonotonicSeconds();
  const c10::NoGradGuard no_grad_;
};

}  // namespace

absl::StatusOr<at::Tensor> ReadMicroBatch(const StagePlan& plan, const Batches& batches,
                                          int64_t first_sequence) {
  ASSIGN_OR_RETURN(std::vector<int32_t> ids,
                   batches.Sequences(static_cast<int>(plan.stage), first_sequence, plan.micro_batch));
  return at::tensor(ids, at::kInt).to(at::kLong).view({plan.micro_batch, plan.seq_len});
}

absl::StatusOr<Boundary> EmbedMicroBatch(const StagePlan& plan, const LanguageModel& teacher,
                                         const Batches& batches, int64_t step, int64_t pass) {
  ASSIGN_OR_RETURN(const at::Tensor ids_BT, ReadMicroBatch(plan, batches, plan.first_sequence(step, pass)));
  return Boundary{0, Embed(teacher, ids_BT)};
}

TeacherPass::TeacherPass(const LanguageModel& teacher, Boundary input, TeacherWork& work)
    : teacher_(teacher),
      at_(std::move(input)),
      work_(work),
      rotary_(RotaryFor(teacher, at_.hidden_BTE.size(1))) {}

void TeacherPass::AdvanceTo(int64_t boundary) {
  RETORT_CHECK(boundary >= at_.boundary) << "boundary " << boundary << " is below " << at_.boundary;
  for (; at_.boundary < boundary; ++at_.boundary) {
    const BlockRun run(work_);
    at_.hidden_BTE = RunBlock(teacher_, at_.boundary, at_.hidden_BTE, rotary_, nullptr);
  }
}

BlockTaps TeacherPass::TapBlock() {
  const BlockRun run(work_);
  BlockTaps taps;
  at_.hidden_BTE = RunBlock(teacher_, at_.boundary, at_.hidden_BTE, rotary_, &taps);
  ++at_.boundary;
  return taps;
}

BlockTaps TeacherPass::TapMixer() {
  const BlockRun run(work_);
  return retort::TapMixer(teacher_, at_.boundary, at_.hidden_BTE, rotary_);
}

}  // namespace retort
