#include "cli/show/plan_table.h"
#include "cli/show/run_tables.h"
#include "cli/show/testing_run.h"
#include "cli/show/worker_table.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

constexpr int64_t kNowUnixMs = 1'764'110'205'000 + 3'600'000;

TEST(RenderRuns, HasARowPerRun) {
  v1::ListReply reply;
  *reply.add_runs() = HalfDoneRun().summary();
  v1::RunSummary& ended = *reply.add_runs();
  ended = HalfDoneRun().summary();
  ended.set_run_id(2);
  ended.set_state(v1::RUN_STATE_FAILED);
  ended.set_workers(0);
  EXPECT_EQ(RenderRuns(reply, false, kNowUnixMs),
            "NAME   ID   STATE     DONE    LEFT   WORKERS     AGE\n"
            "tiny    3   running    46%   3m12s         2   1h00m\n"
            "tiny    2   failed     46%       -         0   1h00m\n");
}

TEST(RenderRuns, SaysMoreWhenWide) {
  v1::ListReply reply;
  *reply.add_runs() = HalfDoneRun().summary();
  EXPECT_EQ(RenderRuns(reply, true, kNowUnixMs),
            "NAME   ID   STATE     DONE    LEFT   WORKERS     AGE   PRIORITY   CREATED                "
            "FINISHED   REASON\n"
            "tiny    3   running    46%   3m12s         2   1h00m          0   2025-11-25T22:36:45Z   -      "
            "    2 of 2 workers at work\n");
}

TEST(RunHeadline, SaysHowFarALivingRunIs) {
  v1::RunSummary run = HalfDoneRun().summary();
  EXPECT_EQ(RunHeadline(run), "tiny (id 3): running, 46% done, about 3m12s left, 2 workers");
  run.set_remaining_seconds(-1);
  run.set_workers(1);
  EXPECT_EQ(RunHeadline(run), "tiny (id 3): running, 46% done, 1 worker");
  run.set_state(v1::RUN_STATE_CANCELLED);
  EXPECT_EQ(RunHeadline(run), "tiny (id 3): cancelled");
}

v1::GetReply GetOfHalfDone() {
  v1::GetReply reply;
  *reply.mutable_run() = HalfDoneRun();
  reply.mutable_job()->mutable_teacher()->set_path("models/tiny");
  v1::Numerics& numerics = *reply.mutable_run()->mutable_numerics();
  numerics.set_micro_batch(2);
  numerics.set_threads(1);
  numerics.set_compute_path(v1::COMPUTE_PATH_AVX2);
  numerics.set_device(v1::DEVICE_KIND_CPU);
  numerics.set_numerics_id("0123456789abcdef");
  v1::Attempt& attempt = *reply.add_attempts();
  attempt.set_token(41);
  attempt.set_stage(v1::STAGE_MATRIX_ORIENTATION);
  attempt.set_worker_name("alpha");
  attempt.set_started_unix_ms(1'764'110'205'000);
  attempt.set_ended_unix_ms(1'764'110'305'000);
  attempt.set_message("expired");
  v1::LayerAttempt& layer = *attempt.add_layers();
  layer.set_layer(3);
  layer.set_to_step(100);
  layer.set_cause(v1::END_CAUSE_INFRASTRUCTURE);
  return reply;
}

TEST(RenderRun, ShowsTasksAndWhatFailedLast) {
  EXPECT_EQ(
      RenderRun(GetOfHalfDone(), false, kNowUnixMs),
      "tiny (id 3): running, 46% done, about 3m12s left, 2 workers\n"
      "reason    2 of 2 workers at work\n"
      "priority  0\n"
      "created   2025-11-25T22:36:45Z, 1h00m ago\n"
      "teacher   models/tiny\n"
      "numerics  cpu, avx2, 1 thread a worker, micro-batch 2, sources 0123456789ab\n"
      "\n"
      "STAGE                    LAYER   STATE     STEP   SAVED   STEPS    LOSS   STEPS/S   RETRIES   WORKER\n"
      "prepare                      -   done         0       0       0       -         -         0   -\n"
      "matrix_orientation           0   done       400       0     400     0.5         -         0   -\n"
      "matrix_orientation           1   done       400       0     400    0.25         -         0   -\n"
      "matrix_orientation           3   leased     120     100     400   1.235       2.5         1   beta\n"
      "hidden_state_alignment       0   pending      0       0     200       -         -         0   -\n"
      "hidden_state_alignment       1   pending      0       0     200       -         -         0   -\n"
      "hidden_state_alignment       3   pending      0       0     200       -         -         0   -\n"
      "end_to_end                   -   pending      0       0      50       -         -         0   -\n"
      "\n"
      "matrix_orientation layer 3: the lease of alpha expired\n");
}

TEST(RenderRun, ShowsAttemptsWhenWide) {
  const std::string text = RenderRun(GetOfHalfDone(), true, kNowUnixMs);
  EXPECT_EQ(text.substr(text.find("TOKEN")),
            "TOKEN   STAGE                LAYER   FROM   SAVED   CAUSE             TIME   STARTED            "
            "    WORKER   MESSAGE\n"
            "   41   matrix_orientation       3      0     100   infrastructure   1m40s   "
            "2025-11-25T22:36:45Z   alpha    expired\n");
}

TEST(RenderWorkers, HasARowPerWorker) {
  v1::ListWorkersReply reply;
  v1::WorkerStatus& busy = *reply.add_workers();
  busy.set_name("alpha");
  busy.set_state(v1::WORKER_STATE_BUSY);
  busy.set_run_name("tiny");
  busy.set_stage(v1::STAGE_MATRIX_ORIENTATION);
  busy.add_layers(2);
  busy.add_layers(3);
  busy.set_planned_memory_bytes(uint64_t{300} << 20);
  busy.set_measured_gflops(123.4);
  busy.set_registered_unix_ms(kNowUnixMs - 60'000);
  busy.set_threads(2);
  busy.set_memory_bytes(uint64_t{8} << 30);
  busy.set_device(v1::DEVICE_KIND_CPU);
  busy.set_compute_path(v1::COMPUTE_PATH_AVX512);
  busy.set_build_version("0.1.0");
  busy.set_token(41);
  busy.set_heartbeat_age_ms(1500);
  v1::WorkerStatus& idle = *reply.add_workers();
  idle.set_name("beta");
  idle.set_state(v1::WORKER_STATE_IDLE);
  idle.set_reason("no run wants a worker");
  EXPECT_EQ(RenderWorkers(reply, false, kNowUnixMs),
            "NAME    STATE   RUN    STAGE                LAYERS   PLANNED   GFLOPS     AGE\n"
            "alpha   busy    tiny   matrix_orientation   2-3      300 MiB      123   1m00s\n"
            "beta    idle    -      -                    -              -        0       -\n");
  const std::string wide = RenderWorkers(reply, true, kNowUnixMs);
  EXPECT_NE(wide.find("THREADS    MEMORY   DEVICE   PATH     VERSION   TOKEN   SILENT   REASON\n"),
            std::string::npos)
      << wide;
  EXPECT_NE(wide.find("      2   8.0 GiB   cpu      avx512   0.1.0        41     1.5s   -\n"),
            std::string::npos)
      << wide;
  EXPECT_NE(wide.find("no run wants a worker\n"), std::string::npos);
}

TEST(RenderPlanReply, TagsEachFigure) {
  v1::PlanReply plan;
  const auto set = [](v1::Figure* figure, double value, uint64_t run) {
    figure->set_value(value);
    figure->set_basis(run == 0 ? v1::BASIS_ASSUMED : v1::BASIS_MEASURED);
    figure->set_measured_run_id(run);
  };
  set(plan.mutable_seconds(), 4000, 7);
  plan.add_reasons("two workers of equal speed");
  v1::PlannedStage& stage = *plan.add_stages();
  stage.set_stage(v1::STAGE_MATRIX_ORIENTATION);
  stage.set_steps(400);
  set(stage.mutable_seconds(), 0.4, 7);
  v1::PlannedSlice& slice = *stage.add_slices();
  slice.set_first_layer(4);
  slice.set_layer_count(3);
  slice.set_worker_name("alpha");
  set(slice.mutable_seconds_per_step(), 0.00025, 7);
  set(slice.mutable_memory_bytes(), 3 << 20, 0);
  set(slice.mutable_hop_bytes_per_step(), 1 << 20, 0);
  slice.set_teacher_passes(0.5);
  v1::PlannedStage& last = *plan.add_stages();
  last.set_stage(v1::STAGE_END_TO_END);
  set(last.mutable_seconds(), 3900, 0);
  set(last.add_slices()->mutable_seconds_per_step(), 3.25, 0);
  EXPECT_EQ(RenderPlanReply(plan),
            "STAGE                STEPS   SLICES   TIME\n"
            "matrix_orientation     400        1   400ms measured(run 7)\n"
            "end_to_end               0        1   1h05m assumed\n"
            "\n"
            "STAGE                LAYERS   WORKER      STEP                    MEMORY            HOP         "
            "      TEACHER-PASSES\n"
            "matrix_orientation   4-6      alpha       0.2ms measured(run 7)   3.0 MiB assumed   1.0 MiB "
            "assumed             0.50\n"
            "end_to_end           all      (assumed)   3.2s assumed            0 B assumed       0 B assumed "
            "                0.00\n"
            "\n"
            "in all about 1h06m measured(run 7)\n"
            "- two workers of equal speed\n");
}

}  // namespace
}  // namespace retort
