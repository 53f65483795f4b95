// The life of leases: grants, heartbeats, yields, expiry, giving back, and what they cost.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orchestrator/state/callers.h"
#include "orchestrator/state/lease_end.h"
#include "orchestrator/state/testing_cluster.h"

namespace retort::orchestrator {
namespace {

using testing::ElementsAre;

constexpr v1::Stage kStage1 = v1::STAGE_MATRIX_ORIENTATION;
constexpr v1::Stage kStage2 = v1::STAGE_HIDDEN_STATE_ALIGNMENT;

// One worker, a, that holds stage 1 of all six layers.
class OneWorker : public testing::Test {
 protected:
  OneWorker() {
    cluster_.Register("a");
    run_id_ = cluster_.SubmitPrepared(SixLayerJob(), "a");
    slice_ = cluster_.TakeSlice("a");
    token_ = slice_.token();
  }

  const v1::TaskRecord& Row(uint32_t layer) { return cluster_.Task(run_id_, kStage1, layer); }

  TestCluster cluster_;
  uint64_t run_id_ = 0;
  v1::Slice slice_;
  uint64_t token_ = 0;
};

TEST_F(OneWorker, GetsTheWholeStage) {
  EXPECT_EQ(slice_.stage(), kStage1);
  EXPECT_THAT(TestCluster::LayersOf(slice_), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(slice_.layers(0).total_steps(), 40);
  EXPECT_EQ(slice_.input(), v1::INPUT_SOURCE_RECOMPUTE);
  EXPECT_EQ(slice_.numerics().threads(), 2);
  EXPECT_EQ(slice_.identity_sha256().size(), 32);
  EXPECT_EQ(cluster_.EventsOf(v1::EVENT_KIND_NUMERICS_RESOLVED)[0].text(),
            "CPU, AVX2, 2 threads a worker, micro-batch 4, sources n1; as worker a computes");
}

TEST_F(OneWorker, IsGivenTheStandingLeaseAgain) {
  const auto again = cluster_.Lease("a");
  EXPECT_EQ(again.reply.slice().SerializeAsString(), slice_.SerializeAsString());
  EXPECT_EQ(again.reply.reason(), "the lease under token 2 still stands");
  EXPECT_FALSE(again.changes.is_durable());
}

TEST_F(OneWorker, StartsStageTwoFromStageOne) {
  cluster_.Finish("a", slice_);
  const v1::Slice next = cluster_.TakeSlice("a");
  EXPECT_EQ(next.stage(), kStage2);
  EXPECT_EQ(next.token(), 3);
  EXPECT_EQ(next.layers(5).next_step(), 0);
  EXPECT_EQ(next.layers(5).checkpoint().stage(), kStage1);
  EXPECT_EQ(next.layers(5).checkpoint().layer(), 5);
  EXPECT_EQ(next.layers(5).checkpoint().publish(), 1);
}

TEST_F(OneWorker, HandsOverToStageThree) {
  cluster_.Finish("a", slice_);
  cluster_.Finish("a", cluster_.TakeSlice("a"));
  const v1::Slice last = cluster_.TakeSlice("a");
  EXPECT_EQ(last.stage(), v1::STAGE_END_TO_END);
  ASSERT_EQ(last.handover_size(), 12);
  EXPECT_EQ(last.handover(6).stage(), kStage2);
  EXPECT_EQ(last.handover(6).publish(), 2);
  EXPECT_FALSE(last.layers(0).has_checkpoint());
  cluster_.Publish("a", last.token(), {0}, 10);
  EXPECT_EQ(cluster_.TryComplete("a", last.token(), {0}),
            absl::FailedPreconditionError("Complete: no RESULT was published"));
  cluster_.Publish("a", last.token(), {0}, 10, 1, v1::PUBLISH_KIND_RESULT);
  cluster_.Complete("a", last.token(), {0});
  EXPECT_EQ(cluster_.RunStateOf(run_id_), v1::RUN_STATE_SUCCEEDED);
  EXPECT_EQ(cluster_.state.run(run_id_).record.result_publish(), 4);
  EXPECT_EQ(Row(0).last_publish(), 0);  // dropped with the run's end
}

TEST_F(OneWorker, ExpiresAfterItsTimeAndPays) {
  cluster_.Heartbeat("a", 12);
  cluster_.Advance(19'999);
  EXPECT_EQ(cluster_.Sweep(), "");
  cluster_.Advance(1);
  EXPECT_EQ(cluster_.Sweep(), "sweep: 1 leases ended, 1 workers lost");
  EXPECT_EQ(Row(3).state(), v1::TASK_STATE_PENDING);
  EXPECT_EQ(Row(3).infrastructure_losses(), 1);
  EXPECT_EQ(Row(3).message(), "lease of a expired: no renewal for 20000 ms");
  EXPECT_GT(Row(3).not_before_unix_ms(), cluster_.now.unix_ms);
  EXPECT_EQ(cluster_.EventsOf(v1::EVENT_KIND_WORKER_LOST)[0].text(), "silent for 20000 ms");
}

TEST_F(OneWorker, IsNotLostWhileItsHeartbeatsArrive) {
  for (int i = 0; i < 30; ++i) {
    cluster_.Advance(2'000);
    EXPECT_EQ(cluster_.Heartbeat("a", 12).reply.verdict().action(), v1::LEASE_ACTION_CONTINUE);
    EXPECT_EQ(cluster_.Sweep(), "");
  }
}

TEST_F(OneWorker, LosesNoAttemptBeforeTheFirstHeartbeat) {
  cluster_.Advance(20'000);
  cluster_.Sweep();
  EXPECT_EQ(Row(0).state(), v1::TASK_STATE_PENDING);
  EXPECT_EQ(Row(0).infrastructure_losses(), 0);
  EXPECT_EQ(Row(0).not_before_unix_ms(), 0);
}

TEST_F(OneWorker, IsToldToStopAfterExpiry) {
  cluster_.Heartbeat("a", 12);
  cluster_.Advance(20'000);
  cluster_.Sweep();
  v1::HeartbeatRequest late;
  cluster_.Name("a", late);
  late.mutable_progress()->set_token(token_);
  late.mutable_progress()->set_phase(v1::SLICE_PHASE_TRAINING);
  late.mutable_progress()->add_layers()->set_layer(0);
  EXPECT_EQ(DecideHeartbeat(cluster_.now, cluster_.state, cluster_.options, late).status.code(),
            absl::StatusCode::kAborted);
  cluster_.Register("a");
  const auto verdict = DecideHeartbeat(cluster_.now, cluster_.state, cluster_.options, late).reply.verdict();
  EXPECT_EQ(verdict.action(), v1::LEASE_ACTION_STOP);
  EXPECT_EQ(verdict.cause(), v1::END_CAUSE_INFRASTRUCTURE);
  EXPECT_EQ(verdict.reason(), "the lease under token 2 has ended: it expired, was revoked or given back");
}

TEST_F(OneWorker, IsRefusedLateWritesAndTheyAreCounted) {
  cluster_.Heartbeat("a", 12);
  cluster_.Advance(20'000);
  cluster_.Sweep();
  cluster_.Register("a");
  const absl::Status late = cluster_.TryPublish("a", token_, {0}, 20);
  EXPECT_EQ(late, absl::AbortedError("BeginPublish under token 2 is stale: layer 0 is PENDING under token 2; "
                                     "heartbeat, and obey the verdict"));
  EXPECT_EQ(Row(0).step(), 0);
  const auto refused = cluster_.EventsOf(v1::EVENT_KIND_STALE_WRITE_REFUSED);
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].text(), "BeginPublish: layer 0 is PENDING under token 2");
  EXPECT_EQ(refused[0].worker_name(), "a");
}

// A worker that wakes after its lease is not registered either.
TEST_F(OneWorker, IsRefusedAndCountedAlsoBeforeItRegistersAnew) {
  const std::vector<uint32_t> all = TestCluster::LayersOf(slice_);
  cluster_.Heartbeat("a", 12);
  cluster_.Advance(20'000);
  cluster_.Sweep();
  const uint64_t id = TestCluster::IdOfWorker("a");
  const auto [now, state, options] = std::tie(cluster_.now, cluster_.state, cluster_.options);
  v1::CommitPublishRequest commit;
  cluster_.Name("a", commit);
  commit.set_token(token_);
  commit.set_publish(7);
  for (const absl::Status& status :
       {cluster_.TryPublish("a", token_, {0}, 20), cluster_.TryComplete("a", token_, {0}),
        cluster_.TryFail("a", token_, {0}, v1::END_CAUSE_INFRASTRUCTURE, "x"),
        cluster_.TryRelease("a", token_, all, v1::END_CAUSE_PREEMPTION),
        cluster_.Do(DecideCommitPublish(now, state, options, commit, nullptr)).status}) {
    EXPECT_EQ(status, absl::AbortedError(
                          absl::StrCat("worker ", absl::Hex(id), " is not registered: register again")));
  }
  std::vector<std::string> texts;
  for (const auto& event : cluster_.EventsOf(v1::EVENT_KIND_STALE_WRITE_REFUSED))
    texts.push_back(event.text());
  EXPECT_THAT(texts,
              ElementsAre("BeginPublish: layer 0 is PENDING under token 2; the worker is not registered",
                          "Complete: layer 0 is PENDING under token 2; the worker is not registered",
                          "Fail: layer 0 is PENDING under token 2; the worker is not registered",
                          "ReleaseLease: layer 0 is PENDING under token 2; the worker is not registered",
                          "CommitPublish: its lease has ended; the worker is not registered"));
  EXPECT_EQ(cluster_.EventsOf(v1::EVENT_KIND_STALE_WRITE_REFUSED)[0].run_id(), run_id_);
}

TEST_F(OneWorker, IsRefusedButNotCountedWhileItsLeaseStandsOrItsRowsAreDone) {
  cluster_.Publish("a", token_, {0}, 40);
  cluster_.Complete("a", token_, {0});
  cluster_.Restart();
  EXPECT_EQ(cluster_.TryPublish("a", token_, {1}, 20).code(), absl::StatusCode::kAborted);
  cluster_.Advance(20'000);
  cluster_.Sweep();
  EXPECT_EQ(cluster_.TryComplete("a", token_, {0}).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(cluster_.EventsOf(v1::EVENT_KIND_STALE_WRITE_REFUSED).size(), 0u);
}

// A call that was accepted just before a restart, and whose reply was lost.
TEST_F(OneWorker, IsCountedWithItsEpochWhenItRepeatsAReleaseAfterARestart) {
  const std::vector<uint32_t> all = TestCluster::LayersOf(slice_);
  v1::ReleaseLeaseRequest release;
  cluster_.Name("a", release);
  release.set_token(token_);
  release.mutable_layers()->Add(all.begin(), all.end());
  release.set_cause(v1::END_CAUSE_PREEMPTION);
  const auto [now, state, options] = std::tie(cluster_.now, cluster_.state, cluster_.options);
  EXPECT_EQ(cluster_.Do(DecideReleaseLease(now, state, options, release)).status, absl::OkStatus());
  cluster_.Restart();
  cluster_.Register("a");
  EXPECT_EQ(cluster_.Do(DecideReleaseLease(now, state, options, release)).status.code(),
            absl::StatusCode::kAborted);
  const auto refused = cluster_.EventsOf(v1::EVENT_KIND_STALE_WRITE_REFUSED);
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].text(),
            "ReleaseLease: layer 0 is PENDING under token 2; epoch 1 was presented, now it is 2");
}

TEST_F(OneWorker, StoresNothingOfARefusedWriteWhoseTokenNoRowBears) {
  v1::CompleteRequest request;
  request.set_epoch(cluster_.state.epoch);
  request.set_token(77);
  request.add_layers(0);
  const auto [now, state, options] = std::tie(cluster_.now, cluster_.state, cluster_.options);
  for (const uint64_t id : {uint64_t{1}, TestCluster::IdOfWorker("a")}) {
    request.set_worker_id(id);
    const auto decision = DecideComplete(now, state, options, request);
    EXPECT_EQ(decision.status.code(), absl::StatusCode::kAborted);
    EXPECT_FALSE(decision.changes.is_durable());
  }
}

TEST_F(OneWorker, CommitsNothingUnderTheNumber0) {
  ASSERT_EQ(Row(0).last_publish(), 0u);
  v1::CommitPublishRequest commit;
  cluster_.Name("a", commit);
  commit.set_token(token_);
  const auto decision = DecideCommitPublish(cluster_.now, cluster_.state, cluster_.options, commit, nullptr);
  EXPECT_EQ(decision.status, absl::InvalidArgumentError("CommitPublish: publish is 0, which names none"));
}

TEST_F(OneWorker, CannotUseAnotherWorkersToken) {
  cluster_.Register("b");
  EXPECT_EQ(cluster_.TryPublish("b", token_, {0}, 20).code(), absl::StatusCode::kAborted);
}

TEST_F(OneWorker, FailsItsLayerAndGivesTheOthersBackForFree) {
  cluster_.Fail("a", token_, {2}, v1::END_CAUSE_USER_ERROR, "the loss is not a number");
  EXPECT_EQ(Row(2).user_errors(), 1);
  EXPECT_EQ(Row(2).message(), "the loss is not a number");
  EXPECT_EQ(Row(1).user_errors(), 0);
  EXPECT_EQ(Row(1).state(), v1::TASK_STATE_PENDING);
  const auto ended = cluster_.EventsOf(v1::EVENT_KIND_LEASE_ENDED);
  EXPECT_EQ(ended[1].cause(), v1::END_CAUSE_SLICE_ENDED);
  EXPECT_THAT(ended[1].layers(), ElementsAre(0, 1, 3, 4, 5));
  EXPECT_EQ(ended[2].cause(), v1::END_CAUSE_USER_ERROR);
  EXPECT_THAT(ended[2].layers(), ElementsAre(2));
}

TEST_F(OneWorker, FailsTheRunWhenABudgetIsSpent) {
  cluster_.Fail("a", token_, {2}, v1::END_CAUSE_USER_ERROR, "the loss is not a number");
  cluster_.Advance(60'000);
  cluster_.Register("a");
  const v1::Slice again = cluster_.TakeSlice("a");
  cluster_.Fail("a", again.token(), {2}, v1::END_CAUSE_USER_ERROR, "the loss is not a number");
  EXPECT_EQ(Row(2).state(), v1::TASK_STATE_FAILED);
  EXPECT_EQ(cluster_.RunStateOf(run_id_), v1::RUN_STATE_FAILED);
  EXPECT_EQ(cluster_.state.run(run_id_).record.reason(),
            "matrix_orientation of layer 2 failed after 2 of 2 errors of the job: the loss is not a number");
}

TEST_F(OneWorker, IsNotOfferedARunWhoseInputsItLacks) {
  cluster_.Fail("a", token_, {0, 1, 2, 3, 4, 5}, v1::END_CAUSE_WRONG_INPUT, "train.bin has another content");
  EXPECT_EQ(Row(0).user_errors() + Row(0).infrastructure_losses() + Row(0).preemptions(), 0);
  cluster_.Replan();
  EXPECT_EQ(cluster_.Lease("a").reply.reason(), "0 of 1 worker needed: 1 run can use 4 now");
  EXPECT_EQ(
      cluster_.state.placement.run_reason.at(run_id_),
      "waits for a worker: of 1 registered 0 drain, 1 lack its inputs, 0 compute other bits, 0 have less "
      "than the 0.2 GiB that its smallest slice needs; worker a said: train.bin has another content; it "
      "is asked again 180 s after that, or at once after `retort resume six`");
}

// The same, after the worker has refused.
class OneWorkerWithoutInputs : public OneWorker {
 protected:
  OneWorkerWithoutInputs() {
    cluster_.Fail("a", token_, {0, 1, 2, 3, 4, 5}, v1::END_CAUSE_WRONG_INPUT, "there is no train.bin");
    cluster_.Replan();
    EXPECT_FALSE(IsGranted());
  }

  bool IsGranted() { return cluster_.Lease("a").reply.has_slice(); }
};

TEST_F(OneWorkerWithoutInputs, IsAskedAgainAfterThreeMinutes) {
  for (int i = 0; i < 89; ++i) {
    cluster_.Advance(2'000);
    cluster_.Heartbeat("a");
  }
  cluster_.Replan();
  EXPECT_FALSE(IsGranted());
  cluster_.Advance(2'000);
  cluster_.Replan();
  EXPECT_TRUE(IsGranted());
}

TEST_F(OneWorkerWithoutInputs, IsAskedAgainWhenAUserResumesTheRun) {
  EXPECT_EQ(cluster_
                .Do(DecideResume(cluster_.now, cluster_.state, cluster_.options,
                                 cluster_.ForRun<v1::ResumeRequest>(run_id_)))
                .reply.state(),
            v1::RUN_STATE_RUNNING);
  EXPECT_TRUE(cluster_.state.placement_stale);
  EXPECT_EQ(cluster_.TakeSlice("a").stage(), kStage1);
}

TEST_F(OneWorkerWithoutInputs, IsAskedAgainWhenAUserRetriesTheRun) {
  cluster_.Register("b");
  const v1::Slice slice = cluster_.TakeSlice("b");
  cluster_.options.user_error_budget = 1;
  cluster_.Fail("b", slice.token(), {0}, v1::END_CAUSE_USER_ERROR, "nan");
  cluster_.Leave("b");
  EXPECT_EQ(cluster_.RunStateOf(run_id_), v1::RUN_STATE_FAILED);
  cluster_.Do(DecideRetry(cluster_.now, cluster_.state, cluster_.options,
                          cluster_.ForRun<v1::RetryRequest>(run_id_)));
  EXPECT_EQ(cluster_.TakeSlice("a").stage(), kStage1);
}

TEST_F(OneWorkerWithoutInputs, IsAskedAgainWhenItRegistersAnew) {
  cluster_.Register("a");
  EXPECT_EQ(cluster_.TakeSlice("a").stage(), kStage1);
}

TEST_F(OneWorkerWithoutInputs, LeavesNoRefusalBehind) {
  cluster_.Leave("a");
  EXPECT_EQ(cluster_.state.run(run_id_).refusals.size(), 0u);
}

TEST_F(OneWorker, MustLeaveOneRange) {
  EXPECT_EQ(
      cluster_.TryRelease("a", token_, {2}, v1::END_CAUSE_RECUT),
      absl::InvalidArgumentError("ReleaseLease: without layer 2 the slice of layers 0 to 5 has a hole"));
  cluster_.Release("a", token_, {0, 5}, v1::END_CAUSE_RECUT);
  EXPECT_EQ(cluster_.state.FindLease(token_)->record.first_layer(), 1);
  EXPECT_EQ(cluster_.state.FindLease(token_)->record.layer_count(), 4);
  // Again, as when the reply was lost.
  cluster_.Release("a", token_, {0, 5}, v1::END_CAUSE_RECUT);
}

TEST_F(OneWorker, LeavesWithAPreemptionForEveryLayer) {
  cluster_.Leave("a");
  EXPECT_EQ(Row(4).preemptions(), 1);
  EXPECT_EQ(Row(4).infrastructure_losses(), 0);
  EXPECT_EQ(cluster_.state.workers.size(), 0u);
  cluster_.Leave("a");
}

TEST_F(OneWorker, RepeatsTheLostStepsOnly) {
  cluster_.Publish("a", token_, TestCluster::LayersOf(slice_), 30);
  cluster_.Heartbeat("a", 38);
  cluster_.Advance(20'000);
  cluster_.Sweep();
  cluster_.Register("b");
  cluster_.Advance(60'000);
  cluster_.Register("b");
  const v1::Slice again = cluster_.TakeSlice("b");
  EXPECT_EQ(again.token(), 3);
  EXPECT_EQ(again.layers(0).next_step(), 30);
  EXPECT_EQ(again.layers(0).checkpoint().stage(), kStage1);
}

TEST_F(OneWorker, ReportsStepsThatOnlyRise) {
  cluster_.Heartbeat("a", 12);
  cluster_.Heartbeat("a", 9);  // sent before, arrived after
  EXPECT_EQ(cluster_.state.FindLease(token_)->progress.layers(0).step(), 12);
}

TEST_F(OneWorker, PublishesWithinItsSteps) {
  cluster_.Publish("a", token_, {0}, 20);
  EXPECT_EQ(cluster_.TryPublish("a", token_, {0}, 19),
            absl::FailedPreconditionError(
                "publish under token 2: layer 0 at step 19, which is not within 20 to 40"));
  EXPECT_EQ(cluster_.TryPublish("a", token_, {0}, 41).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(cluster_.TryPublish("a", token_, {0}, 40, 1, v1::PUBLISH_KIND_RESULT),
            absl::FailedPreconditionError("publish under token 2: a RESULT in matrix_orientation"));
  EXPECT_EQ(cluster_.TryComplete("a", token_, {0}),
            absl::FailedPreconditionError("Complete: layer 0 is published at step 20 of 40"));
}

TEST_F(OneWorker, KeepsTheLastAndTheBestCheckpoint) {
  cluster_.Publish("a", token_, {0}, 10, /*loss=*/3);
  cluster_.Publish("a", token_, {0}, 20, /*loss=*/1);
  cluster_.Publish("a", token_, {0}, 30, /*loss=*/2);
  EXPECT_EQ(Row(0).last_publish(), 3);
  EXPECT_EQ(Row(0).best_publish(), 2);
  EXPECT_EQ(Row(0).last_loss(), 2);
}

TEST_F(OneWorker, CommitsAPublishOnce) {
  v1::BeginPublishRequest begin;
  cluster_.Name("a", begin);
  begin.set_token(token_);
  begin.set_kind(v1::PUBLISH_KIND_CHECKPOINT);
  begin.set_identity_sha256(slice_.identity_sha256());
  begin.add_layers()->set_step(10);
  v1::CommitPublishRequest commit;
  cluster_.Name("a", commit);
  commit.set_token(token_);
  commit.set_publish(7);
  const auto first =
      cluster_.Do(DecideCommitPublish(cluster_.now, cluster_.state, cluster_.options, commit, &begin));
  EXPECT_TRUE(first.changes.is_durable());
  const auto again =
      cluster_.Do(DecideCommitPublish(cluster_.now, cluster_.state, cluster_.options, commit, nullptr));
  EXPECT_EQ(again.status, absl::OkStatus());
  EXPECT_EQ(again.reason, "publish 7 counts already");
  EXPECT_FALSE(again.changes.is_durable());
  commit.set_publish(8);
  EXPECT_EQ(DecideCommitPublish(cluster_.now, cluster_.state, cluster_.options, commit, nullptr).status,
            absl::NotFoundError("publish 8 under token 2 is not under way: begin again"));
}

TEST_F(OneWorker, MayCompleteTwice) {
  cluster_.Publish("a", token_, {0, 1}, 40);
  cluster_.Complete("a", token_, {0});
  cluster_.Complete("a", token_, {0, 1});
  cluster_.Complete("a", token_, {0, 1});
  EXPECT_EQ(cluster_.EventsOf(v1::EVENT_KIND_TASK_COMPLETED).size(), 3u);  // PREPARE's is the first
  EXPECT_EQ(cluster_.Heartbeat("a", 40).reply.verdict().action(), v1::LEASE_ACTION_CONTINUE);
}

TEST_F(OneWorker, LearnsFromAHeartbeatThatItsLastLayersAreDone) {
  v1::HeartbeatRequest heartbeat;
  cluster_.Name("a", heartbeat);
  heartbeat.mutable_progress()->set_token(token_);
  heartbeat.mutable_progress()->set_phase(v1::SLICE_PHASE_SAVING);
  heartbeat.mutable_progress()->add_layers()->set_layer(3);
  cluster_.Finish("a", slice_);
  const auto verdict =
      DecideHeartbeat(cluster_.now, cluster_.state, cluster_.options, heartbeat).reply.verdict();
  EXPECT_EQ(verdict.action(), v1::LEASE_ACTION_STOP);
  EXPECT_EQ(verdict.cause(), v1::END_CAUSE_COMPLETED);
  EXPECT_EQ(verdict.reason(), "layer 3 completed under token 2");
}

TEST_F(OneWorker, IsAskedToYieldUntilItHasAndThenNoMore) {
  v1::PauseRequest pause = cluster_.ForRun<v1::PauseRequest>(run_id_);
  cluster_.Do(DecidePause(cluster_.now, cluster_.state, cluster_.options, pause));
  EXPECT_EQ(cluster_.RunStateOf(run_id_), v1::RUN_STATE_PAUSING);
  for (int i = 0; i < 2; ++i) {
    const auto verdict = cluster_.Heartbeat("a", 5).reply.verdict();
    EXPECT_EQ(verdict.action(), v1::LEASE_ACTION_YIELD);
    EXPECT_EQ(verdict.cause(), v1::END_CAUSE_PAUSED);
    EXPECT_THAT(verdict.layers(), ElementsAre(0, 1, 2, 3, 4, 5));
    EXPECT_EQ(verdict.yield_within_ms(), 30'000);
  }
  cluster_.Publish("a", token_, {0, 1, 2, 3, 4, 5}, 5);
  cluster_.Release("a", token_, {0, 1, 2, 3, 4, 5}, v1::END_CAUSE_PAUSED);
  EXPECT_EQ(cluster_.RunStateOf(run_id_), v1::RUN_STATE_PAUSED);
  EXPECT_EQ(Row(0).step(), 5);
  EXPECT_EQ(Row(0).preemptions(), 0);
}

TEST_F(OneWorker, LosesWhatItDoesNotYieldInTime) {
  cluster_.Do(DecidePause(cluster_.now, cluster_.state, cluster_.options,
                          cluster_.ForRun<v1::PauseRequest>(run_id_)));
  cluster_.Advance(10'000);
  cluster_.Heartbeat("a", 5);  // from here on
  for (int i = 0; i < 14; ++i) {
    cluster_.Advance(2'000);
    cluster_.Heartbeat("a", 5);
    EXPECT_EQ(cluster_.Sweep(), "");
  }
  cluster_.Advance(2'000);
  EXPECT_EQ(cluster_.Sweep(), "sweep: 1 leases ended, 0 workers lost");
  EXPECT_EQ(cluster_.RunStateOf(run_id_), v1::RUN_STATE_PAUSED);
  EXPECT_EQ(cluster_.EventsOf(v1::EVENT_KIND_LEASE_ENDED).back().text(),
            "a did not give layers 0 to 5 back within 30000 ms");
}

TEST_F(OneWorker, IsDrainedByItsHeartbeat) {
  v1::DrainWorkerRequest drain;
  drain.set_request_id("d");
  drain.set_worker_name("a");
  EXPECT_EQ(cluster_.Do(DecideDrainWorker(cluster_.now, cluster_.state, cluster_.options, drain)).status,
            absl::OkStatus());
  const auto heartbeat = cluster_.Heartbeat("a", 5).reply;
  EXPECT_EQ(heartbeat.command(), v1::WORKER_COMMAND_LEAVE);
  EXPECT_EQ(heartbeat.verdict().action(), v1::LEASE_ACTION_YIELD);
  EXPECT_EQ(heartbeat.verdict().cause(), v1::END_CAUSE_PREEMPTION);
  cluster_.Release("a", token_, {0, 1, 2, 3, 4, 5}, v1::END_CAUSE_PREEMPTION);
  cluster_.Replan();
  EXPECT_EQ(cluster_.Lease("a").reply.reason(), "a is told to leave");
}

TEST_F(OneWorker, KeepsItsLeaseThroughARestart) {
  cluster_.Publish("a", token_, {0, 1, 2, 3, 4, 5}, 10);
  cluster_.Advance(3'600'000);  // however long it was down
  cluster_.Restart();

  v1::LeaseRequest old;
  old.set_worker_id(TestCluster::IdOfWorker("a"));
  old.set_epoch(1);
  EXPECT_EQ(DecideLease(cluster_.now, cluster_.state, cluster_.options, old).status,
            absl::AbortedError("epoch 1 was presented, the orchestrator is at epoch 2: register again"));
  old.set_epoch(3);
  EXPECT_EQ(DecideLease(cluster_.now, cluster_.state, cluster_.options, old).status.code(),
            absl::StatusCode::kUnavailable);
  EXPECT_TRUE(IsSuperseded(cluster_.state, 3));

  cluster_.Advance(15'000);
  cluster_.Register("a");
  EXPECT_EQ(cluster_.Heartbeat("a", 14).reply.verdict().action(), v1::LEASE_ACTION_CONTINUE);
  cluster_.Advance(15'000);
  EXPECT_EQ(cluster_.Sweep(), "");
  cluster_.Publish("a", token_, {0, 1, 2, 3, 4, 5}, 20);
}

TEST_F(OneWorker, IsAskedAgainAfterARestart) {
  cluster_.Do(DecidePause(cluster_.now, cluster_.state, cluster_.options,
                          cluster_.ForRun<v1::PauseRequest>(run_id_)));
  cluster_.Restart();
  cluster_.Register("a");
  const auto verdict = cluster_.Heartbeat("a", 5).reply.verdict();
  EXPECT_EQ(verdict.action(), v1::LEASE_ACTION_YIELD);
  EXPECT_EQ(verdict.cause(), v1::END_CAUSE_PAUSED);
  EXPECT_EQ(verdict.reason(), "a user paused it; the holders are saving");
}

TEST(Backoff, DoublesUpToAMinuteAndVariesByAHalf) {
  const Options options;
  constexpr uint64_t kLow = 0, kHigh = ~uint64_t{0};
  EXPECT_EQ(BackoffMs(options, 1, kLow), 500);
  EXPECT_EQ(BackoffMs(options, 1, kHigh), 1'000);
  EXPECT_EQ(BackoffMs(options, 4, kLow), 4'000);
  EXPECT_EQ(BackoffMs(options, 7, kLow), 30'000);
  EXPECT_EQ(BackoffMs(options, 100, kHigh), 60'000);
}

}  // namespace
}  // namespace retort::orchestrator
