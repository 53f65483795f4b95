// What the supervisor of a run decides, without processes.
#include "cli/embedded/embedded_run.h"
#include "cli/embedded/run_directory.h"
#include "cli/embedded/stuck.h"
#include "cli/embedded/supervision.h"
#include "cli/show/testing_run.h"
#include "core/base/exit_code.h"
#include "gmock/gmock.h"

namespace retort {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(JudgeEnd, StartsAnEndedChildAgainAfterALongerAndLongerWait) {
  const ChildVerdict first = JudgeEnd("worker-1", "log", {.signal = 9, .lived_seconds = 1}, 0, 7);
  EXPECT_TRUE(first.error.ok());
  EXPECT_EQ(first.failures_in_a_row, 1);
  EXPECT_NEAR(first.wait_seconds, 0.2, 0.1);
  const ChildVerdict third = JudgeEnd("worker-1", "log", {.exit_code = 1, .lived_seconds = 1}, 2, 7);
  EXPECT_EQ(third.failures_in_a_row, 3);
  EXPECT_NEAR(third.wait_seconds, 0.8, 0.4);
}

TEST(JudgeEnd, ForgetsFailuresOfAChildThatLivedLong) {
  EXPECT_EQ(JudgeEnd("worker-1", "log", {.signal = 9, .lived_seconds = 60}, 4, 7).failures_in_a_row, 1);
}

TEST(JudgeEnd, GivesUpAtTheFifthFailureInARow) {
  const absl::Status error = JudgeEnd("worker-1", "the/log", {.signal = 9, .lived_seconds = 59}, 4, 7).error;
  EXPECT_EQ(ExitCode(error), kExitFailed);
  EXPECT_EQ(
      error.message(),
      "worker-1 ended 5 times in a row, last with signal 9 (Killed); its log is the/log. What was saved is "
      "kept: the same command goes on from there");
}

TEST(JudgeEnd, GivesUpAtOnceWhereAnotherStartCannotHelp) {
  struct Case {
    int exit_code, run_exit_code;
  };
  for (const Case& c : {Case{2, kExitFailed}, {127, kExitNotFound}, {126, kExitNotFound}}) {
    const absl::Status error =
        JudgeEnd("worker-1", "log", {.exit_code = c.exit_code, .lived_seconds = 900}, 0, 7).error;
    EXPECT_EQ(RunExitCode(error), c.run_exit_code) << c.exit_code;
    EXPECT_THAT(std::string(error.message()), HasSubstr("exit code " + std::to_string(c.exit_code)));
  }
}

TEST(JudgeEnd, WaitsForAConflictToPass) {
  EXPECT_TRUE(JudgeEnd("worker-1", "log", {.exit_code = 5, .lived_seconds = 1}, 3, 7).error.ok());
  EXPECT_EQ(ExitCode(JudgeEnd("worker-1", "log", {.exit_code = 5, .lived_seconds = 1}, 4, 7).error),
            kExitConflict);
}

TEST(JudgeEnd, StartsAChildAgainThatLeftByItself) {
  EXPECT_TRUE(JudgeEnd("worker-1", "log", {.exit_code = 0, .lived_seconds = 900}, 0, 7).error.ok());
}

TEST(ShareCores, GivesTwoWorkersHalfEach) {
  struct Case {
    int cores, workers, threads, expected_workers, expected_threads;
  };
  for (const Case& c : {Case{1, 0, 0, 1, 1},
                        {2, 0, 0, 2, 1},
                        {9, 0, 0, 2, 4},
                        {8, 3, 0, 3, 2},
                        {2, 0, 5, 2, 5},
                        {2, 4, 0, 4, 1}}) {
    const CoreShares shares = ShareCores(c.cores, 1200, c.workers, c.threads);
    EXPECT_EQ(shares.workers, c.expected_workers) << c.cores;
    EXPECT_EQ(shares.threads, c.expected_threads) << c.cores;
    EXPECT_EQ(shares.memory_bytes, 1200u / c.expected_workers) << c.cores;
  }
}

TEST(CheckRanksHaveWorkers, RefusesAJobThatWouldWaitForMore) {
  v1::JobSpec job;
  EXPECT_TRUE(CheckRanksHaveWorkers(job, 1).ok());
  job.mutable_stages()->mutable_end_to_end()->set_world_size(4);
  EXPECT_TRUE(CheckRanksHaveWorkers(job, 4).ok());
  EXPECT_EQ(
      CheckRanksHaveWorkers(job, 2),
      absl::InvalidArgumentError("stages.end_to_end.world_size is 4, but 2 workers would be started; give "
                                 "--workers 4, or world_size: auto"));
}

class Stuck : public testing::Test {
 protected:
  Stuck() {
    run_.mutable_summary()->set_state(v1::RUN_STATE_RUNNING);
    run_.mutable_summary()->set_reason("waits for a worker");
    AddTask(run_, v1::STAGE_PREPARE, 0, v1::TASK_STATE_PENDING, 0, 0);
    for (int i = 0; i < 2; ++i) workers_.add_workers()->set_state(v1::WORKER_STATE_IDLE);
  }
  bool IsStuckNow() const { return IsStuck(run_, workers_, 2, 1000); }

  v1::RunStatus run_;
  v1::ListWorkersReply workers_;
};

TEST_F(Stuck, WhenAllWorkersAreIdleForNoReason) { EXPECT_TRUE(IsStuckNow()); }

TEST_F(Stuck, NotWhileAWorkerIsMissing) {
  workers_.mutable_workers()->RemoveLast();
  EXPECT_FALSE(IsStuckNow());
}

TEST_F(Stuck, NotWhileAWorkerIsBusyOrSilent) {
  workers_.mutable_workers(1)->set_state(v1::WORKER_STATE_SILENT);
  EXPECT_FALSE(IsStuckNow());
  workers_.mutable_workers(1)->set_state(v1::WORKER_STATE_BUSY);
  EXPECT_FALSE(IsStuckNow());
}

TEST_F(Stuck, NotDuringABackOff) {
  run_.mutable_tasks(0)->set_not_before_unix_ms(1001);
  EXPECT_FALSE(IsStuckNow());
}

TEST_F(Stuck, NotWhileSomethingIsHeld) {
  run_.mutable_tasks(0)->set_state(v1::TASK_STATE_LEASED);
  EXPECT_FALSE(IsStuckNow());
}

TEST_F(Stuck, NotWhenPausedOrEnded) {
  for (const v1::RunState state : {v1::RUN_STATE_PAUSED, v1::RUN_STATE_SUCCEEDED, v1::RUN_STATE_CANCELLING}) {
    run_.mutable_summary()->set_state(state);
    EXPECT_FALSE(IsStuckNow()) << state;
  }
}

TEST_F(Stuck, SaysWhatTheWorkerSaidOfTheInputs) {
  EXPECT_EQ(StuckError(run_, workers_, "eval.idx is truncated"),
            absl::DataLossError("eval.idx is truncated"));
  run_.mutable_numerics()->set_threads(2);  // it has begun
  EXPECT_EQ(StuckError(run_, workers_, "eval.bin has another hash"),
            absl::FailedPreconditionError("eval.bin has another hash"));
}

TEST_F(Stuck, NamesTheNumericsThatDiffer) {
  run_.mutable_numerics()->set_threads(2);
  run_.mutable_numerics()->set_compute_path(v1::COMPUTE_PATH_AVX512);
  workers_.mutable_workers(0)->set_threads(2);
  workers_.mutable_workers(0)->set_compute_path(v1::COMPUTE_PATH_AVX2);
  EXPECT_EQ(
      StuckError(run_, workers_, "").message(),
      "no worker takes the run: waits for a worker; it began otherwise: compute_path was avx512, is avx2");
}

TEST_F(Stuck, SpeaksOfTheSourcesOnlyWhereTheyDiffer) {
  run_.mutable_numerics()->set_numerics_id("abc");
  workers_.mutable_workers(0)->set_build_version("0.1.0+abc");
  EXPECT_EQ(StuckError(run_, workers_, "").message(), "no worker takes the run: waits for a worker");
  workers_.mutable_workers(0)->set_build_version("0.1.0+def");
  EXPECT_EQ(
      StuckError(run_, workers_, "").message(),
      "no worker takes the run: waits for a worker; it began otherwise: its sources' hash was abc, is def");
}

v1::JobSpec Job(uint64_t seed) {
  v1::JobSpec job;
  job.set_name("tiny");
  job.mutable_data()->set_seed(seed);
  job.mutable_student()->set_state_size(16);
  job.mutable_checkpoint()->set_every_steps(100);
  return job;
}

TEST(Differences, NameEachValueThatDiffers) {
  v1::JobSpec other = Job(8);
  other.mutable_student()->set_state_size(8);
  other.set_micro_batch(2);
  EXPECT_THAT(Differences(JobIdentity(Job(7)), JobIdentity(other)),
              ElementsAre("data/seed was \"7\", is \"8\"", "microBatch was absent, is 2",
                          "student/stateSize was 16, is 8"));
}

TEST(Differences, PassOverNameAndCheckpoints) {
  v1::JobSpec other = Job(7);
  other.set_name("another");
  other.mutable_checkpoint()->set_every_steps(7);
  EXPECT_TRUE(Differences(JobIdentity(Job(7)), JobIdentity(other)).empty());
}

TEST(DifferencesFromResult, CompareThreadsOnlyWhenTheUserSaysThem) {
  const json result = {{"identity", {{"job", JobIdentity(Job(7))}, {"threads", 1}}}};
  EXPECT_THAT(DifferencesFromResult(result, Job(7), 0), ElementsAre());
  EXPECT_THAT(DifferencesFromResult(result, Job(7), 1), ElementsAre());
  EXPECT_THAT(DifferencesFromResult(result, Job(7), 2), ElementsAre("threads was 1, is 2"));
  EXPECT_THAT(DifferencesFromResult({{"identity", json::object()}}, Job(7), 2),
              testing::SizeIs(testing::Gt(1u)));
}

TEST(DifferencesFromRun, KnowNoThreadsBeforeTheFirstGrant) {
  v1::GetReply run;
  *run.mutable_job() = Job(7);
  EXPECT_THAT(DifferencesFromRun(run, Job(7), 2), ElementsAre());
  run.mutable_run()->mutable_numerics()->set_threads(1);
  EXPECT_THAT(DifferencesFromRun(run, Job(7), 2), ElementsAre("threads was 1, is 2"));
  EXPECT_THAT(DifferencesFromRun(run, Job(7), 0), ElementsAre());
}

TEST(RefuseDifferences, SaysWhereAndWhatToDo) {
  EXPECT_TRUE(RefuseDifferences("runs/x", {}).ok());
  const absl::Status error = RefuseDifferences("runs/x", {"a was 1, is 2", "b was 3, is 4"});
  EXPECT_EQ(ExitCode(error), kExitConflict);
  EXPECT_EQ(error.message(),
            "runs/x holds a run that began otherwise: a was 1, is 2; b was 3, is 4. Undo the change to go on "
            "with it, "
            "give another directory with --out, or remove this one");
}

TEST(HasSavedSteps, MeansAnyPublish) {
  v1::RunStatus run = HalfDoneRun();
  EXPECT_TRUE(HasSavedSteps(run));
  for (v1::TaskStatus& task : *run.mutable_tasks()) task.set_published_step(0);
  EXPECT_FALSE(HasSavedSteps(run));
}

TEST(RunFailure, HasTheRunsReasonAndWhatItsTasksSayBeyondThat) {
  v1::RunStatus run;
  run.mutable_summary()->set_name("tiny");
  run.mutable_summary()->set_reason("matrix_orientation layer 3 spent its budget");
  AddTask(run, v1::STAGE_MATRIX_ORIENTATION, 3, v1::TASK_STATE_FAILED, 7, 20)
      ->set_message("the loss is not a number");
  AddTask(run, v1::STAGE_MATRIX_ORIENTATION, 4, v1::TASK_STATE_PENDING, 7, 20)->set_message("an old story");
  const absl::Status error = RunFailure(run);
  EXPECT_EQ(RunExitCode(error), kExitFailed);
  EXPECT_EQ(error.message(),
            "run tiny has failed: matrix_orientation layer 3 spent its budget; the loss is not a number");
}

TEST(Differences, DoNotCountTheLayersThatAProbeChose) {
  v1::JobSpec asked = Job(7);
  asked.mutable_student()->mutable_keep_attention()->set_auto_layers(1);
  v1::GetReply run;
  *run.mutable_job() = asked;
  run.mutable_job()->mutable_student()->mutable_keep_attention()->add_layers(3);
  EXPECT_THAT(DifferencesFromRun(run, asked, 0), IsEmpty());
  json result = {{"identity", {{"job", JobIdentity(asked)}}}};
  result["identity"]["job"]["student"]["keepAttention"]["layers"] = {3};
  EXPECT_THAT(DifferencesFromResult(result, asked, 0), IsEmpty());
  asked.mutable_student()->mutable_keep_attention()->set_auto_layers(2);
  EXPECT_THAT(DifferencesFromRun(run, asked, 0), ElementsAre("student/keepAttention/autoLayers was 1, is 2"));
}

}  // namespace
}  // namespace retort
