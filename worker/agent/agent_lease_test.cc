// Registration, grants, heartbeats, the self-stop rule and verdicts.
#include "worker/agent/testing_agent.h"

namespace retort {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(AgentTest, RegistersThenAsksForALeaseUnderTheEpochThatItGot) {
  EXPECT_EQ(TakeCall<v1::RegisterRequest>().name(), "w1");
  v1::RegisterReply reply;
  reply.set_epoch(9);
  Answer(absl::OkStatus(), reply);
  const auto lease = TakeCall<v1::LeaseRequest>();
  EXPECT_EQ(lease.worker_id(), 17u);
  EXPECT_EQ(lease.epoch(), 9u);
}

TEST_F(AgentTest, AsksAgainAtOnceWhenThereIsNoSlice) {
  Register();
  Make<v1::LeaseRequest>(v1::LeaseReply());
  TakeCall<v1::LeaseRequest>();
}

TEST_F(AgentTest, RepeatsACallThatFailedAfterABackOff) {
  Register();
  Refuse<v1::LeaseRequest>(absl::UnavailableError("no answer"));
  ExpectNoCall();
  const int64_t failed_ms = now;
  TakeCallLater<v1::LeaseRequest>();
  EXPECT_GE(now - failed_ms, 100);
  EXPECT_LE(now - failed_ms, 300);
}

TEST_F(AgentTest, RegistersAgainAfterAborted) {
  Register(5);
  Refuse<v1::LeaseRequest>(absl::AbortedError("another epoch"));
  Register(6);
  EXPECT_EQ(TakeCall<v1::LeaseRequest>().epoch(), 6u);
}

TEST_F(AgentTest, EndsWhenTheOrchestratorWillNotHaveIt) {
  Refuse<v1::RegisterRequest>(absl::FailedPreconditionError("the name is taken"));
  ASSERT_TRUE(agent.end().has_value());
  EXPECT_EQ(agent.end()->code(), absl::StatusCode::kFailedPrecondition);
  ExpectNoCall();
}

TEST_F(AgentTest, EndsWhenTheOrchestratorLacksACall) {
  Register();
  Refuse<v1::LeaseRequest>(absl::UnimplementedError("Lease"));
  ASSERT_TRUE(agent.end().has_value());
  EXPECT_EQ(agent.end()->code(), absl::StatusCode::kUnimplemented);
}

// ---- heartbeats

TEST_F(AgentTest, HeartbeatsFromTheRegistrationOnEveryInterval) {
  EXPECT_EQ(agent.NextHeartbeat(now), std::nullopt);
  Register();
  EXPECT_FALSE(SendHeartbeat().has_progress());
  now += 2'000;
  EXPECT_FALSE(agent.NextHeartbeat(now).has_value());  // one at a time
  agent.OnHeartbeatEnd(now, absl::DeadlineExceededError(""));
  EXPECT_TRUE(agent.NextHeartbeat(now).has_value());
  agent.OnHeartbeatEnd(now + 1, absl::UnavailableError(""));
  EXPECT_FALSE(agent.NextHeartbeat(now + 1'999).has_value());
  EXPECT_TRUE(agent.NextHeartbeat(now + 2'000).has_value());
}

TEST_F(AgentTest, HeartbeatsAtOnceWithANewToken) {
  Register();
  SendHeartbeat();
  agent.OnHeartbeatEnd(now, v1::HeartbeatReply());
  Grant(SliceOf({4, 5}));
  const auto request = agent.NextHeartbeat(now);
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->progress().token(), 41u);
  EXPECT_EQ(request->progress().phase(), v1::SLICE_PHASE_LOADING);
  EXPECT_EQ(request->progress().layers_size(), 2);
}

TEST_F(AgentTest, ReportsStepsLossesAndMeanTimes) {
  Begin(SliceOf({4, 5}, 20));
  Step(2);
  v1::SliceProgress progress = Renew().progress();
  EXPECT_EQ(progress.phase(), v1::SLICE_PHASE_TRAINING);
  EXPECT_EQ(progress.layers(1).layer(), 5u);
  EXPECT_EQ(progress.layers(1).step(), 22u);
  EXPECT_DOUBLE_EQ(progress.layers(1).loss(), 1.0 / 22);
  EXPECT_DOUBLE_EQ(progress.layers(1).train_seconds_per_step(), 0.5);
  EXPECT_DOUBLE_EQ(progress.teacher_seconds_per_step(), 0.25);
  EXPECT_EQ(progress.received_bytes(), 4096u);
  EXPECT_EQ(progress.receive_seconds(), 0.125);
  progress = Renew().progress();  // no step since
  EXPECT_DOUBLE_EQ(progress.layers(1).train_seconds_per_step(), 0.5);
}

TEST_F(AgentTest, ReportsWhatTheLoadTells) {
  Register();
  Grant(SliceOf({4}));
  TakeWork<LoadOrder>();
  agent.OnLoadProgress({.phase = v1::SLICE_PHASE_LOADING, .planned_memory_bytes = 123});
  EXPECT_EQ(SendHeartbeat().progress().planned_memory_bytes(), 123u);
}

TEST_F(AgentTest, RegistersAndAsksForAVerdictBeforeItGoesOnAfterAborted) {
  Begin(SliceOf({4}));
  Step(10);
  Copy();
  Describe();
  Refuse<v1::BeginPublishRequest>(absl::AbortedError("another epoch"));
  EXPECT_EQ(agent.NextHeartbeat(now + 2'000), std::nullopt);
  Register(6);
  ExpectNoCall();
  const auto request = agent.NextHeartbeat(now);
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->epoch(), 6u);
  AnswerHeartbeat(v1::LEASE_ACTION_CONTINUE);
  EXPECT_EQ(TakeCall<v1::BeginPublishRequest>().epoch(), 6u);
}

TEST_F(AgentTest, AVerdictAskedForBeforeTheAbortedDoesNotCount) {
  Begin(SliceOf({4}));
  Step(10);
  Copy();
  BeginPublish();
  Make<UploadOrder>();
  now += 2'000;
  SendHeartbeat();
  Refuse<v1::CommitPublishRequest>(absl::AbortedError("revoked"));
  AnswerHeartbeat(v1::LEASE_ACTION_CONTINUE);
  Register();
  ExpectNoCall();
}

// ---- the self-stop rule

TEST_F(AgentTest, TakesNoStepBeforeAHeartbeatWasAnswered) {
  Register();
  Grant(SliceOf({4}));
  Load();
  ExpectNoWork();
  SendHeartbeat();
  ExpectNoWork();
  AnswerHeartbeat(v1::LEASE_ACTION_CONTINUE);
  TakeWork<StepOrder>();
}

TEST_F(AgentTest, StopsBeforeTheLeaseCanHaveExpiredCountedFromTheSending) {
  Begin(SliceOf({4}));
  now += 2'000;
  const int64_t sent_ms = now;
  SendHeartbeat();
  now += 3'000;
  AnswerHeartbeat(v1::LEASE_ACTION_CONTINUE);
  now = sent_ms + 14'999;
  Step();
  now = sent_ms + 15'000;
  ExpectNoWork();
  EXPECT_EQ(SendHeartbeat().progress().phase(), v1::SLICE_PHASE_WAITING);
  AnswerHeartbeat(v1::LEASE_ACTION_CONTINUE);
  TakeWork<StepOrder>();
}

TEST_F(AgentTest, BeginsNoPublishWhileItMayNotWork) {
  Begin(SliceOf({4}));
  Step(10);
  Copy();
  Describe();
  now += 15'000;
  ExpectNoCall();
  Renew();
  TakeCall<v1::BeginPublishRequest>();
}

TEST_F(AgentTest, AFailedHeartbeatOrAVerdictOnAnotherTokenRenewsNothing) {
  Begin(SliceOf({4}));
  now += 14'000;
  SendHeartbeat();
  AnswerHeartbeat(v1::LEASE_ACTION_CONTINUE, v1::END_CAUSE_UNSPECIFIED, {}, /*token=*/40);
  now += 1'000;
  ExpectNoWork();
}

// ---- verdicts

TEST_F(AgentTest, YieldsALayerAtItsLastStepAndTrainsTheOthers) {
  Begin(SliceOf({4, 5, 6}));
  Step(3);
  Yield({6}, v1::END_CAUSE_RECUT);
  const CopyOrder copy = Copy();
  EXPECT_THAT(copy.copy, ElementsAre(6));
  EXPECT_THAT(copy.drop, ElementsAre(6));
  TakeWork<StepOrder>();
  const auto begin = Publish();
  EXPECT_THAT(LayersOf(begin), ElementsAre(6));
  EXPECT_EQ(begin.layers(0).step(), 3u);
  const auto release = Make<v1::ReleaseLeaseRequest>();
  EXPECT_THAT(NumbersOf(release.layers()), ElementsAre(6));
  EXPECT_EQ(release.cause(), v1::END_CAUSE_RECUT);
  EndStep();
  EXPECT_EQ(Renew().progress().layers_size(), 2);
}

TEST_F(AgentTest, YieldsAtOnceWhatHasTrainedNothingSinceItsLastPublish) {
  Begin(SliceOf({4, 5}, 20));
  Yield({4, 5}, v1::END_CAUSE_PAUSED);
  const CopyOrder copy = Copy();
  EXPECT_THAT(copy.copy, ElementsAre());
  EXPECT_EQ(Make<v1::ReleaseLeaseRequest>().cause(), v1::END_CAUSE_PAUSED);
  TakeCall<v1::LeaseRequest>();
  TakeWork<DiscardOrder>();
}

TEST_F(AgentTest, ACopyForGivingBackReplacesAnOlderPublish) {
  Begin(SliceOf({4, 5}));
  Step(10);
  Copy();
  BeginPublish();
  TakeCall<UploadOrder>();
  Step();
  Yield({5}, v1::END_CAUSE_RECUT);
  EXPECT_THAT(Copy().copy, ElementsAre(5));
  EXPECT_TRUE(agent.StopsCall(now));
  Answer(absl::CancelledError(""));
  EXPECT_THAT(LayersOf(Publish()), ElementsAre(5));
  Make<v1::ReleaseLeaseRequest>();
  EXPECT_THAT(Copy().copy, ElementsAre(4));  // what the older publish would have had
}

TEST_F(AgentTest, APublishUnderWayOfThisVeryStepIsEnoughToYield) {
  Begin(SliceOf({4, 5}));
  Step(10);
  Copy();
  BeginPublish();
  Yield({4, 5}, v1::END_CAUSE_PAUSED);
  EXPECT_THAT(Copy().copy, ElementsAre());
  Make<UploadOrder>();
  Make<v1::CommitPublishRequest>();
  EXPECT_THAT(NumbersOf(Make<v1::ReleaseLeaseRequest>().layers()), ElementsAre(4, 5));
}

TEST_F(AgentTest, AWithdrawnYieldIsForgotten) {
  Begin(SliceOf({4, 5}));
  TakeWork<StepOrder>();
  Yield({5}, v1::END_CAUSE_RECUT);
  Renew();
  EndStep();
  TakeWork<StepOrder>();
}

TEST_F(AgentTest, ALayerThatWasDroppedGoesThoughTheYieldIsWithdrawn) {
  Begin(SliceOf({4, 5}));
  Step();
  Yield({5}, v1::END_CAUSE_RECUT);
  Copy();
  Renew();
  Publish();
  EXPECT_EQ(Make<v1::ReleaseLeaseRequest>().cause(), v1::END_CAUSE_RECUT);
}

TEST_F(AgentTest, DropsAStepThatTakesTooLongForAYieldOfEverything) {
  Begin(SliceOf({4}));
  TakeWork<StepOrder>();
  Yield({4}, v1::END_CAUSE_PAUSED);
  EXPECT_FALSE(agent.StopsWork(now + 11'000));
  EXPECT_TRUE(agent.StopsWork(now + 12'000));
  now += 12'000;
  EndWork(absl::CancelledError(""));
  EXPECT_THAT(Copy().drop, ElementsAre(4));
}

TEST_F(AgentTest, TheTimeOfAYieldIsNotCountedFromOneUnderAnOlderLease) {
  Begin(SliceOf({4}));
  Yield({4}, v1::END_CAUSE_PAUSED);
  Copy();
  Make<v1::ReleaseLeaseRequest>();
  TakeWork<DiscardOrder>();
  EndWork(absl::OkStatus());
  now += 60'000;
  Grant(SliceOf({7, 8}));
  Yield({7}, v1::END_CAUSE_RECUT);
  Load();
  TakeWork<StepOrder>();
  Yield({7, 8}, v1::END_CAUSE_RECUT);
  EXPECT_FALSE(agent.StopsWork(now));
}

TEST_F(AgentTest, StopsALoadWhenAllIsAskedBack) {
  Register();
  Grant(SliceOf({4, 5}));
  TakeWork<LoadOrder>();
  Yield({5}, v1::END_CAUSE_PAUSED);
  EXPECT_FALSE(agent.StopsWork(now));
  Yield({4, 5}, v1::END_CAUSE_PAUSED);
  EXPECT_TRUE(agent.StopsWork(now));
  ExpectNoCall();
  EndWork(absl::CancelledError(""));
  EXPECT_THAT(NumbersOf(TakeCall<v1::ReleaseLeaseRequest>().layers()), ElementsAre(4, 5));
  ExpectNoWork();
}

TEST_F(AgentTest, DropsWhatItIsToldToStopWithoutPublishing) {
  Begin(SliceOf({4, 5}));
  Step();
  TakeWork<StepOrder>();
  Stop({4, 5}, v1::END_CAUSE_CANCELLED);
  const auto release = Make<v1::ReleaseLeaseRequest>();
  EXPECT_THAT(NumbersOf(release.layers()), ElementsAre(4, 5));
  EXPECT_EQ(release.cause(), v1::END_CAUSE_CANCELLED);
  EXPECT_TRUE(agent.StopsWork(now));
  EndWork(absl::CancelledError(""));
  TakeWork<DiscardOrder>();
}

TEST_F(AgentTest, BreaksOffTheUploadOfWhatItIsToldToStop) {
  Begin(SliceOf({4}));
  Step(10);
  Copy();
  BeginPublish();
  TakeCall<UploadOrder>();
  EXPECT_FALSE(agent.StopsCall(now));
  Stop({4}, v1::END_CAUSE_CANCELLED);
  EXPECT_TRUE(agent.StopsCall(now));
  Answer(absl::CancelledError(""));
  EXPECT_EQ(Make<v1::ReleaseLeaseRequest>().cause(), v1::END_CAUSE_CANCELLED);
  TakeCall<v1::LeaseRequest>();
}

TEST_F(AgentTest, StopsOneLayerAndTrainsTheOthers) {
  Begin(SliceOf({4, 5}));
  Step(10);
  Copy();
  BeginPublish();
  TakeCall<UploadOrder>();
  Stop({5}, v1::END_CAUSE_INFRASTRUCTURE);
  EXPECT_TRUE(agent.StopsCall(now));
  const CopyOrder drop = Copy();
  EXPECT_THAT(drop.copy, ElementsAre());
  EXPECT_THAT(drop.drop, ElementsAre(5));
  TakeWork<StepOrder>();
  Answer(absl::CancelledError(""));  // of the upload
  EXPECT_THAT(NumbersOf(Make<v1::ReleaseLeaseRequest>().layers()), ElementsAre(5));
  // The publish named a layer that is gone: it begins again without it.
  EXPECT_THAT(LayersOf(TakeCall<v1::BeginPublishRequest>()), ElementsAre(4));
}

TEST_F(AgentTest, AVerdictThatItDoesNotKnowFailsTheSlice) {
  Begin(SliceOf({4}));
  SendHeartbeat();
  AnswerHeartbeat(v1::LEASE_ACTION_UNSPECIFIED);
  const auto fail = TakeCall<v1::FailRequest>();
  EXPECT_EQ(fail.cause(), v1::END_CAUSE_INFRASTRUCTURE);
  EXPECT_THAT(fail.message(), HasSubstr("verdict"));
}

TEST_F(AgentTest, AStepWhoseTurnHasNotComeIsAskedForAgainAndCountsNothing) {
  v1::Slice slice = SliceOf({4});
  slice.set_input(v1::INPUT_SOURCE_RELAY);
  Begin(slice);
  TakeWork<StepOrder>();
  agent.OnWorkEnd(now, {.status = absl::OkStatus(), .result = StepReport(), .failed_layers = {}});
  Step();
  const v1::SliceProgress progress = Renew().progress();
  EXPECT_EQ(progress.layers(0).step(), 1u);
  EXPECT_EQ(progress.teacher_seconds_per_step(), 0.25);
}

TEST_F(AgentTest, AnInputSourceThatItDoesNotKnowFailsTheSlice) {
  Register();
  v1::Slice slice = SliceOf({4});
  slice.set_input(static_cast<v1::InputSource>(3));
  Grant(slice);
  EXPECT_EQ(TakeCall<v1::FailRequest>().cause(), v1::END_CAUSE_INFRASTRUCTURE);
  ExpectNoWork();
}

}  // namespace
}  // namespace retort
