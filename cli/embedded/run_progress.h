// A run's snapshots as the phases of core/base/progress: a phase for each stage, with the mean step of its
// layers, their mean loss, and all tokens per second. Used by one thread.
#pragma once

#include <string>

#include "core/base/progress.h"
#include "retort/v1/run_service.pb.h"

namespace retort {

class RunProgress {
 public:
  // `progress` and `job` outlive this object.
  RunProgress(Progress& progress, const v1::JobSpec& job) : progress_(progress), job_(job) {}

  // Stages that were done before the first snapshot are not shown; one that passed by between two snapshots
  // is.
  void Show(const v1::RunStatus& run);

  // Ends the phase under way.
  void End() { progress_.EndPhase(); }

 private:
  struct StageSum {
    int tasks = 0;
    int done = 0;
    uint64_t steps = 0;
    uint64_t total_steps = 0;  // of one task
    double losses = 0;
    int with_loss = 0;
    double steps_per_second = 0;
  };
  StageSum SumOf(const v1::RunStatus& run, v1::Stage stage) const;
  void ShowStage(v1::Stage stage, const StageSum& sum);
  uint64_t TokensPerStep(v1::Stage stage) const;

  Progress& progress_;
  const v1::JobSpec& job_;
  bool first_ = true;
  v1::Stage phase_ = v1::STAGE_UNSPECIFIED;
  v1::Stage last_ended_ = v1::STAGE_UNSPECIFIED;
};

}  // namespace retort
