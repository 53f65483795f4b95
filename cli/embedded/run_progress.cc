#include "cli/embedded/run_progress.h"

#include <algorithm>

#include "cli/show/words.h"

namespace retort {

RunProgress::StageSum RunProgress::SumOf(const v1::RunStatus& run, v1::Stage stage) const {
  StageSum sum;
  for (const v1::TaskStatus& task : run.tasks()) {
    const bool is_other_rank = stage == v1::STAGE_END_TO_END && task.layer() != 0;  // rank 0 counts the steps
    if (task.stage() != stage || is_other_rank) continue;
    ++sum.tasks;
    sum.done += task.state() == v1::TASK_STATE_DONE;
    sum.steps += task.step();
    sum.total_steps = std::max(sum.total_steps, task.total_steps());
    sum.losses += task.loss();
    sum.with_loss += task.loss() != 0;
    sum.steps_per_second += task.steps_per_second();
  }
  return sum;
}

uint64_t RunProgress::TokensPerStep(v1::Stage stage) const {
  switch (stage) {
    case v1::STAGE_MATRIX_ORIENTATION:
      return job_.stages().matrix_orientation().budget().tokens_per_step();
    case v1::STAGE_HIDDEN_STATE_ALIGNMENT:
      return job_.stages().hidden_state_alignment().budget().tokens_per_step();
    default:
      return job_.stages().end_to_end().budget().tokens_per_step();
  }
}

void RunProgress::ShowStage(v1::Stage stage, const StageSum& sum) {
  const auto step = static_cast<int64_t>(sum.steps / sum.tasks);
  if (phase_ != stage) {
    progress_.StartPhase(Word(stage), first_ ? step : 0, static_cast<int64_t>(sum.total_steps));
    phase_ = stage;
  }
  PhaseStep report = {.step = step};
  if (sum.with_loss > 0) report.loss = sum.losses / sum.with_loss;
  if (sum.steps_per_second > 0) {
    report.tokens_per_second = sum.steps_per_second / sum.tasks * static_cast<double>(TokensPerStep(stage));
  }
  progress_.Step(report);
  if (sum.done < sum.tasks) return;
  progress_.EndPhase();
  phase_ = v1::STAGE_UNSPECIFIED;
}

void RunProgress::Show(const v1::RunStatus& run) {
  for (const v1::Stage stage :
       {v1::STAGE_MATRIX_ORIENTATION, v1::STAGE_HIDDEN_STATE_ALIGNMENT, v1::STAGE_END_TO_END}) {
    const StageSum sum = SumOf(run, stage);
    if (sum.tasks == 0 || sum.total_steps == 0 || stage <= last_ended_) continue;
    const bool all_done = sum.done == sum.tasks;
    const bool waits = stage == v1::STAGE_END_TO_END && !all_done && sum.steps == 0;
    if (waits) break;  // it measures before its first step
    if (!(first_ && all_done)) ShowStage(stage, sum);
    if (!all_done) break;
    last_ended_ = stage;
  }
  first_ = false;
}

}  // namespace retort
