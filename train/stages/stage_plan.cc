#include "train/stages/stage_plan.h"

#include "core/base/check.h"
#include "core/base/job_work.h"

namespace retort {
namespace {

StagePlan FromBudget(Stage stage, const v1::StageBudget& budget, const v1::JobSpec& job) {
  const int64_t pass_tokens = int64_t{job.micro_batch()} * job.data().seq_len();
  const int64_t step_tokens = static_cast<int64_t>(budget.tokens_per_step());
  RETORT_CHECK(pass_tokens > 0 && step_tokens > 0 && step_tokens % pass_tokens == 0)
      << StageName(stage) << ": " << step_tokens << " tokens per step in passes of " << pass_tokens;
  return {.stage = stage,
          .steps = static_cast<int64_t>(StageSteps(budget)),
          .micro_batches = step_tokens / pass_tokens,
          .micro_batch = job.micro_batch(),
          .seq_len = job.data().seq_len(),
          .lr = budget.lr()};
}

}  // namespace

const char* StageName(Stage stage) {
  switch (stage) {
    case Stage::kMatrixOrientation:
      return "matrix_orientation";
    case Stage::kHiddenStateAlignment:
      return "hidden_state_alignment";
    case Stage::kEndToEnd:
      return "end_to_end";
  }
  RETORT_CHECK(false) << "stage " << static_cast<int>(stage);
  return "";
}

StagePlan SharedOut(StagePlan plan, int64_t ranks) {
  const int64_t sequences = plan.micro_batches * plan.micro_batch;
  plan.micro_batch = static_cast<int64_t>(PassSequences(static_cast<uint64_t>(sequences),
                                                        static_cast<uint64_t>(plan.micro_batch),
                                                        static_cast<uint64_t>(ranks)));
  plan.micro_batches = sequences / plan.micro_batch;
  return plan;
}

std::vector<StagePlan> PlanStages(const v1::JobSpec& job) {
  std::vector<StagePlan> plans;
  const v1::StagesSpec& stages = job.stages();
  if (stages.has_matrix_orientation()) {
    plans.push_back(FromBudget(Stage::kMatrixOrientation, stages.matrix_orientation().budget(), job));
  }
  if (stages.has_hidden_state_alignment()) {
    const v1::HiddenStateAlignmentSpec& spec = stages.hidden_state_alignment();
    plans.push_back(FromBudget(Stage::kHiddenStateAlignment, spec.budget(), job));
    plans.back().target = spec.target();
    plans.back().scope = spec.train();
  }
  if (stages.has_end_to_end()) {
    const v1::EndToEndSpec& spec = stages.end_to_end();
    plans.push_back(FromBudget(Stage::kEndToEnd, spec.budget(), job));
    plans.back().scope = spec.train();
    plans.back().labels = spec.labels();
    plans.back().activation_checkpointing = spec.activation_checkpointing();
  }
  return plans;
}

}  // namespace retort
