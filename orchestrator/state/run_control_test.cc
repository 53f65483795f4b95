#include "orchestrator/state/run_control.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orchestrator/state/callers.h"
#include "orchestrator/state/testing_cluster.h"

namespace retort::orchestrator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class RunControl : public testing::Test {
 protected:
  template <class Request>
  auto Ask(const Request& request) {
    const auto& [now, state, options] = std::tie(cluster_.now, cluster_.state, cluster_.options);
    if constexpr (std::is_same_v<Request, v1::PauseRequest>) {
      return cluster_.Do(DecidePause(now, state, options, request));
    } else if constexpr (std::is_same_v<Request, v1::ResumeRequest>) {
      return cluster_.Do(DecideResume(now, state, options, request));
    } else if constexpr (std::is_same_v<Request, v1::CancelRequest>) {
      return cluster_.Do(DecideCancel(now, state, options, request));
    } else if constexpr (std::is_same_v<Request, v1::DeleteRequest>) {
      return cluster_.Do(DecideDelete(now, state, options, request));
    } else if constexpr (std::is_same_v<Request, v1::RetryRequest>) {
      return cluster_.Do(DecideRetry(now, state, options, request));
    } else {
      return cluster_.Do(DecideSubmit(now, state, options, request));
    }
  }
  template <class Request>
  auto AskAbout(uint64_t run_id) {
    return Ask(cluster_.ForRun<Request>(run_id));
  }

  static v1::SubmitRequest Submission(const v1::JobSpec& job, const std::string& request_id) {
    v1::SubmitRequest request;
    request.set_request_id(request_id);
    *request.mutable_job() = job;
    return request;
  }

  uint64_t FailedRun() {
    cluster_.options.user_error_budget = 1;
    cluster_.Register("a");
    const uint64_t run_id = cluster_.SubmitPrepared(SixLayerJob(), "a");
    const v1::Slice slice = cluster_.TakeSlice("a");
    cluster_.Publish("a", slice.token(), {0, 1}, 20);
    cluster_.Fail("a", slice.token(), {1}, v1::END_CAUSE_USER_ERROR, "the loss is not a number");
    EXPECT_EQ(cluster_.RunStateOf(run_id), v1::RUN_STATE_FAILED);
    return run_id;
  }

  TestCluster cluster_;
};

TEST_F(RunControl, SubmitsOnceForOneRequestId) {
  const auto first = Ask(Submission(SixLayerJob(), "r1"));
  EXPECT_EQ(first.reply.run_id(), 1);
  const auto again = Ask(Submission(SixLayerJob(), "r1"));
  EXPECT_EQ(again.reply.run_id(), 1);
  EXPECT_FALSE(again.changes.is_durable());
  EXPECT_EQ(cluster_.state.runs.size(), 1u);
  EXPECT_EQ(Ask(Submission(SixLayerJob("other"), "r1")).status,
            absl::InvalidArgumentError("Submit: request_id r1 was used for another request; draw a new one"));
}

TEST_F(RunControl, RefusesARequestIdThatIsNone) {
  EXPECT_EQ(Ask(Submission(SixLayerJob(), "")).status,
            absl::InvalidArgumentError(
                "Submit: request_id has 0 bytes; it must be 1 to 64 printable ASCII characters"));
  EXPECT_FALSE(IsRequestId("a\nb"));
  EXPECT_FALSE(IsRequestId(std::string(65, 'a')));
  EXPECT_TRUE(IsRequestId(std::string(64, 'a')));
}

TEST_F(RunControl, ForgetsARequestIdAfterTwoDays) {
  Ask(Submission(SixLayerJob(), "r1"));
  cluster_.Advance(48 * 3'600'000 - 1);
  cluster_.Sweep();
  EXPECT_EQ(cluster_.state.requests.size(), 1u);
  cluster_.Advance(1);
  cluster_.Sweep();
  EXPECT_EQ(cluster_.state.requests.size(), 0u);
}

TEST_F(RunControl, RefusesANameInUse) {
  Ask(Submission(SixLayerJob(), "r1"));
  EXPECT_EQ(
      Ask(Submission(SixLayerJob(), "r2")).status,
      absl::AlreadyExistsError("six (run 1) has not ended: wait for it, cancel it, or choose another name"));
  AskAbout<v1::CancelRequest>(1);
  EXPECT_EQ(Ask(Submission(SixLayerJob(), "r3")).reply.run_id(), 2);
  v1::RunRef ref;
  ref.set_name("six");
  EXPECT_EQ(*ResolveRun(cluster_.state, ref), 2);
  ref.set_name("seven");
  EXPECT_EQ(ResolveRun(cluster_.state, ref).status(),
            absl::NotFoundError("no run is named 'seven'; `retort list` shows all"));
}

TEST_F(RunControl, RefusesAJobThatCoreConfigWouldNotMake) {
  v1::JobSpec job = SixLayerJob();
  job.mutable_stages()->mutable_end_to_end()->mutable_budget()->set_tokens_per_step(1000);
  EXPECT_EQ(Ask(Submission(job, "r1")).status,
            absl::InvalidArgumentError(
                "job.stages.end_to_end: 5120 tokens in steps of 1000; a step must be a multiple "
                "of micro_batch * seq_len = 512"));
  job = SixLayerJob();
  job.mutable_data()->add_phases();
  EXPECT_EQ(
      Ask(Submission(job, "r4")).status,
      absl::InvalidArgumentError("job six: data.train and each of data.phases need files, and no weights or "
                                 "one above 0 for each"));
  job.mutable_data()->mutable_phases(0)->add_train("a.bin");
  job.mutable_data()->mutable_phases(0)->add_train_weights(0);
  EXPECT_EQ(Ask(Submission(job, "r5")).status.code(), absl::StatusCode::kInvalidArgument);
  job = SixLayerJob();
  job.mutable_checkpoint()->clear_every_steps();
  EXPECT_EQ(Ask(Submission(job, "r6")).status.code(), absl::StatusCode::kInvalidArgument);
  job.mutable_checkpoint()->set_every_seconds(60);
  EXPECT_TRUE(Ask(Submission(job, "r7")).status.ok());
  job = SixLayerJob("Six");
  EXPECT_EQ(Ask(Submission(job, "r2")).status.code(), absl::StatusCode::kInvalidArgument);
  v1::SubmitRequest urgent = Submission(SixLayerJob(), "r3");
  urgent.set_priority(101);
  EXPECT_EQ(Ask(urgent).status, absl::InvalidArgumentError("priority 101 is not within -100 to 100"));
}

TEST_F(RunControl, PausesAtOnceWhenNothingIsHeld) {
  cluster_.Submit(SixLayerJob());
  EXPECT_EQ(AskAbout<v1::PauseRequest>(1).reply.state(), v1::RUN_STATE_PAUSED);
  EXPECT_EQ(AskAbout<v1::PauseRequest>(1).reply.state(), v1::RUN_STATE_PAUSED);
  cluster_.Register("a");
  cluster_.Replan();
  EXPECT_FALSE(cluster_.Lease("a").reply.has_slice());
  EXPECT_EQ(AskAbout<v1::ResumeRequest>(1).reply.state(), v1::RUN_STATE_QUEUED);
  EXPECT_EQ(cluster_.TakeSlice("a").stage(), v1::STAGE_PREPARE);
}

TEST_F(RunControl, ResumesBeforeTheHoldersHeardOfThePause) {
  cluster_.Register("a");
  const uint64_t run_id = cluster_.SubmitPrepared(SixLayerJob(), "a");
  cluster_.TakeSlice("a");
  EXPECT_EQ(AskAbout<v1::PauseRequest>(run_id).reply.state(), v1::RUN_STATE_PAUSING);
  EXPECT_EQ(AskAbout<v1::ResumeRequest>(run_id).reply.state(), v1::RUN_STATE_RUNNING);
  EXPECT_EQ(cluster_.Heartbeat("a", 3).reply.verdict().action(), v1::LEASE_ACTION_CONTINUE);
}

TEST_F(RunControl, CancelsWhatIsHeldWithoutSaving) {
  cluster_.Register("a");
  const uint64_t run_id = cluster_.SubmitPrepared(SixLayerJob(), "a");
  const v1::Slice slice = cluster_.TakeSlice("a");
  cluster_.Publish("a", slice.token(), {0}, 10);
  EXPECT_EQ(AskAbout<v1::CancelRequest>(run_id).reply.state(), v1::RUN_STATE_CANCELLING);
  const auto verdict = cluster_.Heartbeat("a", 13).reply.verdict();
  EXPECT_EQ(verdict.action(), v1::LEASE_ACTION_STOP);
  EXPECT_EQ(verdict.cause(), v1::END_CAUSE_CANCELLED);
  EXPECT_THAT(verdict.layers(), ElementsAre(0, 1, 2, 3, 4, 5));
  cluster_.Release("a", slice.token(), {0, 1, 2, 3, 4, 5}, v1::END_CAUSE_CANCELLED);
  EXPECT_EQ(cluster_.RunStateOf(run_id), v1::RUN_STATE_CANCELLED);
  EXPECT_EQ(cluster_.Task(run_id, v1::STAGE_MATRIX_ORIENTATION, 0).last_publish(), 0);
  EXPECT_EQ(AskAbout<v1::CancelRequest>(run_id).reply.state(), v1::RUN_STATE_CANCELLED);
  EXPECT_EQ(AskAbout<v1::PauseRequest>(run_id).status,
            absl::FailedPreconditionError("six (run 1) is CANCELLED: there is nothing to pause"));
}

TEST_F(RunControl, EndsACancelledLeaseThatNobodyGivesBack) {
  cluster_.Register("a");
  const uint64_t run_id = cluster_.SubmitPrepared(SixLayerJob(), "a");
  cluster_.TakeSlice("a");
  cluster_.Heartbeat("a", 3);
  AskAbout<v1::CancelRequest>(run_id);
  for (int i = 0; i < 10; ++i) {
    cluster_.Advance(2'000);
    cluster_.Heartbeat("a", 3);  // it does not renew
    cluster_.Sweep();
  }
  EXPECT_EQ(cluster_.RunStateOf(run_id), v1::RUN_STATE_CANCELLED);
  EXPECT_EQ(cluster_.Task(run_id, v1::STAGE_MATRIX_ORIENTATION, 0).infrastructure_losses(), 0);
}

TEST_F(RunControl, RetriesAFailedRunFromItsCheckpoints) {
  const uint64_t run_id = FailedRun();
  EXPECT_EQ(AskAbout<v1::ResumeRequest>(run_id).status,
            absl::FailedPreconditionError("six (run 1) is FAILED: `retort retry` takes it up again"));
  const auto retried = AskAbout<v1::RetryRequest>(run_id);
  EXPECT_EQ(retried.reply.tasks(), 1);
  EXPECT_EQ(cluster_.Task(run_id, v1::STAGE_MATRIX_ORIENTATION, 1).user_errors(), 0);
  const v1::Slice slice = cluster_.TakeSlice("a");
  EXPECT_EQ(slice.layers(1).next_step(), 20);
  EXPECT_EQ(slice.layers(2).next_step(), 0);
  EXPECT_EQ(AskAbout<v1::RetryRequest>(run_id).status,
            absl::FailedPreconditionError("six (run 1) is RUNNING: only a run that FAILED can be retried"));
}

TEST_F(RunControl, RetriesNoRunWhoseNameIsInUse) {
  const uint64_t run_id = FailedRun();
  Ask(Submission(SixLayerJob(), "again"));
  EXPECT_EQ(AskAbout<v1::RetryRequest>(run_id).status,
            absl::FailedPreconditionError(
                "six (run 1) is FAILED: six (run 2) bears its name and has not ended: cancel that first"));
}

TEST_F(RunControl, DeletesARunThatHasEndedOnce) {
  cluster_.Register("a");
  const uint64_t run_id = cluster_.SubmitPrepared(SixLayerJob(), "a");
  const v1::Slice slice = cluster_.TakeSlice("a");
  EXPECT_EQ(AskAbout<v1::DeleteRequest>(run_id).status,
            absl::FailedPreconditionError("six (run 1) is RUNNING: only a run that has ended can be deleted; "
                                          "`retort cancel` ends it"));
  AskAbout<v1::CancelRequest>(run_id);
  cluster_.Release("a", slice.token(), TestCluster::LayersOf(slice), v1::END_CAUSE_CANCELLED);
  const auto request = cluster_.ForRun<v1::DeleteRequest>(run_id);
  EXPECT_EQ(Ask(request).reply.run_id(), 1u);
  EXPECT_EQ(cluster_.state.runs.size(), 0u);
  EXPECT_EQ(cluster_.state.rows_of_token.size(), 0u);
  EXPECT_EQ(cluster_.EventsOf(v1::EVENT_KIND_RUN_DELETED)[0].text(), "six (run 1), CANCELLED");
  EXPECT_EQ(Ask(request).reply.run_id(), 1u) << "the first reply again";
  EXPECT_EQ(AskAbout<v1::DeleteRequest>(run_id).status,
            absl::NotFoundError(
                "no run has id 1: it was deleted, or there never was one; `retort list` shows all"));
  EXPECT_FALSE(cluster_.Lease("a").reply.has_slice()) << "the plan may have been of before";
  EXPECT_EQ(cluster_.Submit(SixLayerJob("new")), 2u);
}

TEST_F(RunControl, DeletesNoRunThatIsStillHeld) {
  const uint64_t run_id = FailedRun();
  cluster_.Register("b");
  AskAbout<v1::RetryRequest>(run_id);
  const v1::Slice of_a = cluster_.TakeSlice("a");
  const v1::Slice of_b = cluster_.TakeSlice("b");
  cluster_.Fail("a", of_a.token(), TestCluster::LayersOf(of_a), v1::END_CAUSE_USER_ERROR, "nan");
  EXPECT_EQ(AskAbout<v1::DeleteRequest>(run_id).status,
            absl::FailedPreconditionError(
                "six (run 1) is FAILED: b still gives a part of it back: repeat this in a few seconds"));
  cluster_.Release("b", of_b.token(), TestCluster::LayersOf(of_b), v1::END_CAUSE_RUN_FAILED);
  EXPECT_EQ(AskAbout<v1::DeleteRequest>(run_id).status, absl::OkStatus());
}

TEST_F(RunControl, AsksTheOtherHoldersOfAFailedRun) {
  cluster_.options.user_error_budget = 1;
  cluster_.Register("a");
  cluster_.Register("b");
  const uint64_t run_id = cluster_.SubmitPrepared(SixLayerJob(), "a");
  const v1::Slice of_a = cluster_.TakeSlice("a");
  const v1::Slice of_b = cluster_.TakeSlice("b");
  cluster_.Fail("a", of_a.token(), TestCluster::LayersOf(of_a), v1::END_CAUSE_USER_ERROR, "nan");
  EXPECT_EQ(cluster_.RunStateOf(run_id), v1::RUN_STATE_FAILED);
  EXPECT_EQ(cluster_.Heartbeat("b", 3).reply.verdict().cause(), v1::END_CAUSE_RUN_FAILED);
  cluster_.Publish("b", of_b.token(), TestCluster::LayersOf(of_b), 3);
  cluster_.Release("b", of_b.token(), TestCluster::LayersOf(of_b), v1::END_CAUSE_RUN_FAILED);
  EXPECT_EQ(cluster_.Task(run_id, of_b.stage(), of_b.layers(0).layer()).step(), 3);
}

TEST_F(RunControl, FailsAJobThatDoesNotFitItsTeacher) {
  cluster_.Register("a");
  v1::JobSpec job = SixLayerJob();
  job.mutable_student()->mutable_keep_attention()->add_layers(7);
  const uint64_t run_id = cluster_.Submit(job);
  const v1::Slice slice = cluster_.TakeSlice("a");
  const v1::PreparedRun prepared = Prepared(job, 6);
  cluster_.Complete("a", slice.token(), {0}, &prepared);
  EXPECT_EQ(cluster_.RunStateOf(run_id), v1::RUN_STATE_FAILED);
  EXPECT_THAT(cluster_.state.run(run_id).record.reason(),
              HasSubstr("student.keep_attention names layer 7, but the teacher's layers are 0 to 5"));
}

TEST_F(RunControl, FailsAJobThatItsWorkerCannotPrepareAtOnce) {
  cluster_.Register("a");
  const uint64_t run_id = cluster_.Submit(SixLayerJob());
  const v1::Slice slice = cluster_.TakeSlice("a");
  cluster_.Fail("a", slice.token(), {0}, v1::END_CAUSE_USER_ERROR, "config.json: model_type is 'gpt2'");
  EXPECT_EQ(cluster_.RunStateOf(run_id), v1::RUN_STATE_FAILED);
  EXPECT_EQ(cluster_.state.run(run_id).record.reason(),
            "prepare failed after 1 of 1 errors of the job: config.json: model_type is 'gpt2'");
  EXPECT_EQ(cluster_.EventsOf(v1::EVENT_KIND_TASK_RETRIED).size(), 0u);
}

TEST_F(RunControl, MakesATaskForEachConvertedLayerOfEachStage) {
  cluster_.Register("a");
  v1::JobSpec job = SixLayerJob();
  job.mutable_student()->mutable_keep_attention()->set_every(2);
  job.mutable_stages()->clear_end_to_end();
  const uint64_t run_id = cluster_.SubmitPrepared(job, "a");
  EXPECT_EQ(cluster_.state.run(run_id).tasks.size(), 8u);  // 3 layers, 2 stages, PREPARE, END_TO_END
  EXPECT_EQ(cluster_.Task(run_id, v1::STAGE_END_TO_END, 0).total_steps(), 0);
  const v1::Slice slice = cluster_.TakeSlice("a");
  EXPECT_THAT(TestCluster::LayersOf(slice), ElementsAre(1, 3, 5));
  EXPECT_EQ(cluster_.state.FindLease(slice.token())->record.layer_count(), 5);
}

class ProbedRun : public RunControl {
 protected:
  ProbedRun() {
    cluster_.Register("a");
    job_.mutable_student()->mutable_keep_attention()->set_auto_layers(2);
    job_.mutable_student()->mutable_keep_attention()->set_probe_steps(24);
  }
  v1::PreparedRun Probed(std::initializer_list<uint32_t> layers) const {
    v1::PreparedRun prepared = Prepared(job_, 6);
    prepared.mutable_probed()->mutable_layers()->Add(layers.begin(), layers.end());
    prepared.mutable_probed()->set_reason("keeps attention in two layers");
    return prepared;
  }

  v1::JobSpec job_ = SixLayerJob();
};

TEST_F(ProbedRun, KeepsTheLayersThatItsWorkerChose) {
  const uint64_t run_id = cluster_.Submit(job_);
  const v1::PreparedRun prepared = Probed({1, 4});
  cluster_.Complete("a", cluster_.TakeSlice("a").token(), {0}, &prepared);
  EXPECT_THAT(cluster_.EventsOf(v1::EVENT_KIND_RUN_PREPARED).at(0).text(),
              HasSubstr("9 tasks; keeps attention in two layers"));
  cluster_.Restart();
  cluster_.Register("a");
  const v1::Slice slice = cluster_.TakeSlice("a");
  EXPECT_THAT(TestCluster::LayersOf(slice), ElementsAre(0, 2, 3, 5));
  EXPECT_THAT(slice.job().student().keep_attention().layers(), ElementsAre(1, 4));
  EXPECT_EQ(slice.job().student().keep_attention().auto_layers(), 2u);
  EXPECT_EQ(cluster_.state.run(run_id).tasks.size(), 10u);
}

TEST_F(ProbedRun, RefusesAPreparationWithoutAFittingChoice) {
  cluster_.Submit(job_);
  const uint64_t token = cluster_.TakeSlice("a").token();
  const v1::PreparedRun none = Prepared(job_, 6);
  EXPECT_THAT(std::string(cluster_.TryComplete("a", token, {0}, &none).message()),
              HasSubstr("the job asks for a probe, and `probed` is absent"));
  for (const auto& layers : {std::initializer_list<uint32_t>{1}, {4, 1}, {1, 1}, {1, 6}}) {
    const v1::PreparedRun prepared = Probed(layers);
    EXPECT_THAT(std::string(cluster_.TryComplete("a", token, {0}, &prepared).message()),
                HasSubstr("2 of 6 are to be kept, ascending"));
  }
}

TEST_F(ProbedRun, IsNotMadeOfAJobThatNamesItsLayersToo) {
  const auto refusal = [&](const v1::JobSpec& job) {
    v1::SubmitRequest request;
    request.set_request_id("x");
    *request.mutable_job() = job;
    return std::string(
        DecideSubmit(cluster_.now, cluster_.state, cluster_.options, request).status.message());
  };
  job_.mutable_student()->mutable_keep_attention()->add_layers(3);
  EXPECT_THAT(refusal(job_), HasSubstr("student.keep_attention has auto_layers"));
  job_.mutable_student()->mutable_keep_attention()->clear_layers();
  EXPECT_EQ(refusal(job_), "");
  job_.mutable_student()->mutable_keep_attention()->set_probe_steps(0);
  EXPECT_THAT(refusal(job_), HasSubstr("that needs probe_steps and stage 1 or 2"));
}

TEST_F(RunControl, RefusesAnIncompletePreparation) {
  cluster_.Register("a");
  cluster_.Submit(SixLayerJob());
  const v1::Slice slice = cluster_.TakeSlice("a");
  v1::PreparedRun prepared = Prepared(SixLayerJob(), 6);
  prepared.mutable_inputs()->mutable_data()->RemoveLast();
  EXPECT_EQ(cluster_.TryComplete("a", slice.token(), {0}, &prepared),
            absl::InvalidArgumentError(
                "Complete: inputs must have the teacher's SHA-256 and those of 2 data files, 32 bytes each"));
  EXPECT_EQ(cluster_.TryComplete("a", slice.token(), {0}),
            absl::InvalidArgumentError("Complete of prepare lacks `prepared`"));
}

TEST_F(RunControl, ReplacesAWorkerByItsNamesake) {
  cluster_.Register("a");
  const uint64_t run_id = cluster_.SubmitPrepared(SixLayerJob(), "a");
  cluster_.TakeSlice("a");
  v1::RegisterRequest namesake = TestCluster::RegistrationOf("a");
  namesake.set_worker_id(99);
  EXPECT_EQ(cluster_.Do(DecideRegister(cluster_.now, cluster_.state, cluster_.options, namesake)).status,
            absl::OkStatus());
  EXPECT_EQ(cluster_.Task(run_id, v1::STAGE_MATRIX_ORIENTATION, 0).infrastructure_losses(), 1);
  EXPECT_EQ(cluster_.Heartbeat("a").status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(
      cluster_.TryRegister("a"),
      absl::FailedPreconditionError("another process has registered as a since: exit, or take another name"));
}

TEST_F(RunControl, RefusesAnotherProtocol) {
  v1::RegisterRequest other = TestCluster::RegistrationOf("a");
  other.set_protocol_version(2);
  EXPECT_EQ(DecideRegister(cluster_.now, cluster_.state, cluster_.options, other).status,
            absl::FailedPreconditionError(
                "worker a speaks protocol 2, the orchestrator 1 to 1: use binaries of one release"));
}

}  // namespace
}  // namespace retort::orchestrator
