#include "cli/show/live_view.h"

#include "cli/show/event_text.h"
#include "cli/show/testing_run.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

v1::Event Granted() {
  v1::Event event;
  event.set_sequence(9);
  event.set_time_unix_ms(1'764'110'205'000);
  event.set_kind(v1::EVENT_KIND_LEASE_GRANTED);
  event.set_stage(v1::STAGE_MATRIX_ORIENTATION);
  for (const uint32_t layer : {4, 5, 6}) event.add_layers(layer);
  for (const uint64_t step : {300, 300, 250}) event.add_steps(step);
  event.set_token(41);
  event.set_worker_name("alpha");
  return event;
}

TEST(EventText, OfAGrantSaysWhatToWhomFromWhere) {
  EXPECT_EQ(EventText(Granted()),
            "lease granted: matrix_orientation layers 4-6 to alpha from steps 300,300,250 (token 41)");
}

TEST(EventText, JoinsEqualSteps) {
  v1::Event event = Granted();
  event.set_kind(v1::EVENT_KIND_CHECKPOINT_PUBLISHED);
  for (int i = 0; i < 3; ++i) event.set_steps(i, 400);
  EXPECT_EQ(EventText(event),
            "checkpoint published: matrix_orientation layers 4-6 at step 400 by alpha (token 41)");
}

TEST(EventText, OfAnEndSaysTheCause) {
  v1::Event event = Granted();
  event.set_kind(v1::EVENT_KIND_LEASE_ENDED);
  event.set_cause(v1::END_CAUSE_RECUT);
  EXPECT_EQ(
      EventText(event),
      "lease ended: matrix_orientation layers 4-6 of alpha, recut, saved at steps 300,300,250 (token 41)");
}

TEST(EventText, DoesNotRepeatTheCause) {
  v1::Event event = Granted();
  event.set_kind(v1::EVENT_KIND_LEASE_ENDED);
  event.set_cause(v1::END_CAUSE_COMPLETED);
  event.set_text("completed");
  EXPECT_EQ(EventText(event),
            "lease ended: matrix_orientation layers 4-6 of alpha, completed, saved at steps 300,300,250 "
            "(token 41)");
}

TEST(EventText, OfARunAndOfAWorker) {
  v1::Event event;
  event.set_kind(v1::EVENT_KIND_RUN_STATE_CHANGED);
  event.set_run_state(v1::RUN_STATE_FAILED);
  event.set_text("layer 3 spent its budget");
  EXPECT_EQ(EventText(event), "run state changed to failed: layer 3 spent its budget");
  event.Clear();
  event.set_kind(v1::EVENT_KIND_WORKER_LOST);
  event.set_worker_name("beta");
  EXPECT_EQ(EventText(event), "worker lost: beta");
}

TEST(EventText, ShowsAKindOfTheFutureByItsNumber) {
  v1::Event event;
  event.set_kind(static_cast<v1::EventKind>(99));
  event.set_text("something new");
  EXPECT_EQ(EventText(event), "99: something new");
}

TEST(EventLine, BeginsWithTheTime) {
  EXPECT_EQ(EventLine(Granted()).substr(0, 35), "2025-11-25T22:36:45Z lease granted:");
}

TEST(RenderLive, ShowsLayersByStagesAndTheLastEvents) {
  EXPECT_EQ(
      RenderLive(HalfDoneRun(), {Granted()}, {.columns = 100, .rows = 24}),
      "tiny (id 3): running, 46% done, about 3m12s left, 2 workers\n"
      "2 of 2 workers at work\n"
      "\n"
      "LAYERS   MATRIX_ORIENTATION              HIDDEN_STATE_ALIGNMENT\n"
      "0-1      done                            pending\n"
      "3        120/400 loss 1.235 2.5/s beta   pending\n"
      "\n"
      "end_to_end: pending\n"
      "\n"
      "22:36:45 lease granted: matrix_orientation layers 4-6 to alpha from steps 300,300,250 (token 41)\n");
}

TEST(RenderLive, NamesTheRanksOfStageThree) {
  v1::RunStatus run;
  run.mutable_summary()->set_name("tiny");
  run.mutable_summary()->set_state(v1::RUN_STATE_RUNNING);
  run.mutable_summary()->set_remaining_seconds(-1);
  AddTask(run, v1::STAGE_END_TO_END, 0, v1::TASK_STATE_LEASED, 5, 50)->set_worker_name("alpha");
  AddTask(run, v1::STAGE_END_TO_END, 1, v1::TASK_STATE_LEASED, 0, 0)->set_worker_name("beta");
  AddTask(run, v1::STAGE_END_TO_END, 2, v1::TASK_STATE_PENDING, 0, 0);
  EXPECT_EQ(RenderLive(run, {}, {}),
            "tiny (id 0): running, 0% done, 0 workers\nend_to_end: 5/50 alpha\n"
            "end_to_end rank 1: beta\nend_to_end rank 2: pending\n");
}

TEST(RenderLive, FitsTheScreenWithTheLayersAtWorkFirst) {
  v1::RunStatus run = HalfDoneRun();
  run.mutable_summary()->clear_reason();
  run.mutable_tasks(0)->set_state(v1::TASK_STATE_FAILED);  // layers 0 and 1 differ now
  EXPECT_EQ(RenderLive(run, {}, {.columns = 40, .rows = 8}),
            "tiny (id 3): running, 46% done, about 3\n"
            "\n"
            "LAYERS   MATRIX_ORIENTATION            \n"
            "3        120/400 loss 1.235 2.5/s beta \n"
            "... and 2 more layers: retort get shows\n"
            "\n"
            "end_to_end: pending\n");
}

TEST(RenderLive, ShowsPreparationWhileThereAreNoLayers) {
  v1::RunStatus run;
  run.mutable_summary()->set_name("tiny");
  run.mutable_summary()->set_state(v1::RUN_STATE_QUEUED);
  run.mutable_summary()->set_remaining_seconds(-1);
  AddTask(run, v1::STAGE_PREPARE, 0, v1::TASK_STATE_PENDING, 0, 0);
  EXPECT_EQ(RenderLive(run, {}, {}), "tiny (id 0): queued, 0% done, 0 workers\nprepare: pending\n");
}

TEST(RenderLive, SurvivesATinyTerminal) {
  EXPECT_EQ(RenderLive(HalfDoneRun(), {Granted()}, {.columns = 5, .rows = 2}), "tiny\n");
  EXPECT_EQ(RenderLive(HalfDoneRun(), {Granted()}, {.columns = 1, .rows = 1}), "");
}

}  // namespace
}  // namespace retort
