// For tests: a run of four layers, one of them kept, in the middle of its stages.
#pragma once

#include <string>

#include "retort/v1/run_service.pb.h"

namespace retort {

inline v1::TaskStatus* AddTask(v1::RunStatus& run, v1::Stage stage, uint32_t layer, v1::TaskState state,
                               uint64_t step, uint64_t total_steps) {
  v1::TaskStatus* task = run.add_tasks();
  task->set_stage(stage);
  task->set_layer(layer);
  task->set_state(state);
  task->set_step(step);
  task->set_total_steps(total_steps);
  return task;
}

inline v1::RunStatus HalfDoneRun() {
  v1::RunStatus run;
  v1::RunSummary& summary = *run.mutable_summary();
  summary.set_run_id(3);
  summary.set_name("tiny");
  summary.set_state(v1::RUN_STATE_RUNNING);
  summary.set_reason("2 of 2 workers at work");
  summary.set_created_unix_ms(1'764'110'205'000);
  summary.set_done_fraction(0.456);
  summary.set_remaining_seconds(192);
  summary.set_workers(2);
  AddTask(run, v1::STAGE_MATRIX_ORIENTATION, 0, v1::TASK_STATE_DONE, 400, 400)->set_loss(0.5);
  AddTask(run, v1::STAGE_MATRIX_ORIENTATION, 1, v1::TASK_STATE_DONE, 400, 400)->set_loss(0.25);
  v1::TaskStatus* leased = AddTask(run, v1::STAGE_MATRIX_ORIENTATION, 3, v1::TASK_STATE_LEASED, 120, 400);
  leased->set_loss(1.23456);
  leased->set_steps_per_second(2.5);
  leased->set_published_step(100);
  leased->set_worker_name("beta");
  leased->set_infrastructure_losses(1);
  leased->set_message("the lease of alpha expired");
  AddTask(run, v1::STAGE_HIDDEN_STATE_ALIGNMENT, 0, v1::TASK_STATE_PENDING, 0, 200);
  AddTask(run, v1::STAGE_HIDDEN_STATE_ALIGNMENT, 1, v1::TASK_STATE_PENDING, 0, 200);
  AddTask(run, v1::STAGE_HIDDEN_STATE_ALIGNMENT, 3, v1::TASK_STATE_PENDING, 0, 200);
  AddTask(run, v1::STAGE_END_TO_END, 0, v1::TASK_STATE_PENDING, 0, 50);
  AddTask(run, v1::STAGE_PREPARE, 0, v1::TASK_STATE_DONE, 0, 0);
  return run;
}

}  // namespace retort
