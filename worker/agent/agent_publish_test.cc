// Training, publishing, completing, failing; the stages of one task.
#include "worker/agent/testing_agent.h"

namespace retort {
namespace {

using testing::ElementsAre;

TEST_F(AgentTest, PublishesWhenTheSlowestLayersStepIsAMultipleOfTheInterval) {
  v1::Slice slice = SliceOf({4, 5}, 12);
  slice.mutable_layers(1)->set_next_step(17);
  Begin(slice);
  Step(8);  // layer 4 at 20, layer 5 at 20
  EXPECT_THAT(Copy().copy, ElementsAre(4, 5));
  TakeWork<StepOrder>();  // goes on beside the publish
  const auto begin = Publish();
  EXPECT_EQ(begin.token(), 41u);
  EXPECT_EQ(begin.kind(), v1::PUBLISH_KIND_CHECKPOINT);
  EXPECT_EQ(begin.identity_sha256(), "identity");
  EXPECT_EQ(begin.layers(0).step(), 20u);
  EXPECT_EQ(begin.layers(0).loss(), 0.5);
  EXPECT_EQ(begin.layers(0).tensors(0).name(), "student/x");
  EXPECT_EQ(begin.layers(0).tensors(0).sha256().size(), 32u);
  ExpectNoCall();
}

TEST_F(AgentTest, PublishesWhenTheJobsTimeHasPassedSinceTheLastCopy) {
  v1::Slice slice = SliceOf({4});
  slice.mutable_job()->mutable_checkpoint()->clear_every_steps();
  slice.mutable_job()->mutable_checkpoint()->set_every_seconds(60);
  Begin(slice);
  const auto step_taking = [this](int64_t ms) {
    TakeWork<StepOrder>();
    now += ms;
    Renew();
    EndStep();
  };
  for (int i = 0; i < 5; ++i) step_taking(11'000);
  step_taking(4'999);  // 59,999 ms
  step_taking(1);
  EXPECT_THAT(Copy().copy, ElementsAre(4));
  EXPECT_EQ(Publish().layers(0).step(), 7u);
  for (int i = 0; i < 6; ++i) step_taking(9'000);
  step_taking(8'000);
  EXPECT_THAT(Copy().copy, ElementsAre(4));
}

TEST_F(AgentTest, SendsOnlyWhatIsMissing) {
  Begin(SliceOf({4}));
  Step(10);
  Copy();
  BeginPublish(23, /*is_missing=*/false);
  EXPECT_EQ(Make<v1::CommitPublishRequest>().publish(), 23u);
}

TEST_F(AgentTest, UploadsUnderThePublishsNumber) {
  Begin(SliceOf({4}));
  Step(10);
  Copy();
  BeginPublish(23);
  const auto upload = TakeCall<UploadOrder>();
  EXPECT_EQ(upload.header.publish(), 23u);
  ASSERT_EQ(upload.missing.size(), 1u);
  EXPECT_EQ(upload.missing[0].layer(), 4u);
}

TEST_F(AgentTest, AnIntervalThatComesDuringAPublishWaitsForItsEnd) {
  Begin(SliceOf({4}));
  Step(10);
  Copy();
  BeginPublish();
  TakeCall<UploadOrder>();
  Step(12);
  Answer();
  Make<v1::CommitPublishRequest>();
  EXPECT_THAT(Copy().copy, ElementsAre(4));
  EXPECT_EQ(Publish().layers(0).step(), 22u);
}

TEST_F(AgentTest, BeginsAPublishAgainThatWasDropped) {
  for (const absl::Status& status :
       {absl::NotFoundError("dropped"), absl::DataLossError("checksum"), absl::UnavailableError("broken")}) {
    SCOPED_TRACE(status.ToString());
    agent = Agent(Registration(), 7);
    Begin(SliceOf({4}));
    Step(10);
    Copy();
    BeginPublish(23);
    Refuse<UploadOrder>(status);
    AnswerBegin(TakeCallLater<v1::BeginPublishRequest>(), 24);
    EXPECT_EQ(Make<UploadOrder>().header.publish(), 24u);
    EXPECT_EQ(Make<v1::CommitPublishRequest>().publish(), 24u);
    ExpectNoCall();
  }
}

TEST_F(AgentTest, BeginsAPublishAgainWhoseCommitFindsNone) {
  Begin(SliceOf({4}));
  Step(10);
  Copy();
  BeginPublish(23);
  Make<UploadOrder>();
  Refuse<v1::CommitPublishRequest>(absl::NotFoundError("restarted"));
  ExpectNoCall();  // it backs off
  TakeCallLater<v1::BeginPublishRequest>();
}

TEST_F(AgentTest, RepeatsACommitWhoseAnswerWasLost) {
  Begin(SliceOf({4}));
  Step(10);
  Copy();
  BeginPublish(23);
  Make<UploadOrder>();
  Refuse<v1::CommitPublishRequest>(absl::DeadlineExceededError("lost"));
  EXPECT_EQ(TakeCallLater<v1::CommitPublishRequest>().publish(), 23u);
}

TEST_F(AgentTest, RepeatsACommitThatAnotherEpochRefused) {
  Begin(SliceOf({4}));
  Step(10);
  Copy();
  BeginPublish(23);
  Make<UploadOrder>();
  Refuse<v1::CommitPublishRequest>(absl::AbortedError("another epoch"));
  Register(6);
  Renew();
  EXPECT_EQ(TakeCall<v1::CommitPublishRequest>().epoch(), 6u);
}

TEST_F(AgentTest, APublishForWhichThereIsNoRoomWaitsForTheNextInterval) {
  Begin(SliceOf({4}));
  Step(10);
  Copy();
  Describe();
  Refuse<v1::BeginPublishRequest>(absl::ResourceExhaustedError("full"));
  ExpectNoCall();
  Step(9);
  ExpectNoCall();
  Step(1);
  EXPECT_THAT(Copy().copy, ElementsAre(4));
}

TEST_F(AgentTest, WhatMustBePublishedIsTriedAgainWhenThereIsNoRoom) {
  Begin(SliceOf({4}));
  Step();
  Yield({4}, v1::END_CAUSE_PAUSED);
  Copy();
  Describe();
  Refuse<v1::BeginPublishRequest>(absl::ResourceExhaustedError("full"));
  TakeCallLater<v1::BeginPublishRequest>();
}

TEST_F(AgentTest, ALayerThatFoundNoRoomIsCopiedAgainToYieldAtTheSameStep) {
  Begin(SliceOf({4}));
  Step(10);
  Copy();
  Describe();
  Refuse<v1::BeginPublishRequest>(absl::ResourceExhaustedError("full"));
  Yield({4}, v1::END_CAUSE_PAUSED);
  EXPECT_THAT(Copy().copy, ElementsAre(4));
}

TEST_F(AgentTest, APublishThatBreaksARuleFailsTheSlice) {
  Begin(SliceOf({4, 5}));
  Step(10);
  Copy();
  Describe();
  Refuse<v1::BeginPublishRequest>(absl::FailedPreconditionError("a foreign identity"));
  const auto fail = Make<v1::FailRequest>();
  EXPECT_EQ(fail.cause(), v1::END_CAUSE_INFRASTRUCTURE);
  EXPECT_THAT(NumbersOf(fail.layers()), ElementsAre(4, 5));
  TakeCall<v1::LeaseRequest>();
}

TEST_F(AgentTest, AnOrchestratorThatMissesWhatWasNotDeclaredFailsTheSlice) {
  Begin(SliceOf({4}));
  Step(10);
  Copy();
  Describe();
  TakeCall<v1::BeginPublishRequest>();
  v1::BeginPublishReply reply;
  reply.add_missing()->set_tensor(7);
  Answer(absl::OkStatus(), reply);
  TakeCall<v1::FailRequest>();
}

// ---- completing

TEST_F(AgentTest, PublishesAndCompletesAfterTheLastStep) {
  Begin(SliceOf({4, 5}, 38));
  Step(2);
  EXPECT_THAT(Copy().copy, ElementsAre(4, 5));
  EXPECT_EQ(Publish().layers(1).step(), 40u);
  const auto complete = Make<v1::CompleteRequest>();
  EXPECT_EQ(complete.token(), 41u);
  EXPECT_THAT(NumbersOf(complete.layers()), ElementsAre(4, 5));
  EXPECT_FALSE(complete.has_prepared());
  TakeCall<v1::LeaseRequest>();
  TakeWork<DiscardOrder>();
}

TEST_F(AgentTest, ALayerThatIsAheadCompletesWhileTheOthersTrain) {
  v1::Slice slice = SliceOf({4, 5}, 35);
  slice.mutable_layers(1)->set_total_steps(36);
  Begin(slice);
  Step();
  EXPECT_THAT(Copy().copy, ElementsAre(5));
  Publish();
  EXPECT_THAT(NumbersOf(Make<v1::CompleteRequest>().layers()), ElementsAre(5));
  EXPECT_THAT(Copy().drop, ElementsAre(5));
  TakeWork<StepOrder>();
}

TEST_F(AgentTest, CompletesWithoutLoadingWhatWasGrantedAtItsLastStep) {
  Register();
  Grant(SliceOf({4}, 40));
  ExpectNoWork();
  TakeCall<v1::CompleteRequest>();
}

TEST_F(AgentTest, LoadsOnlyWhatHasStepsLeft) {
  v1::Slice slice = SliceOf({4, 5}, 40);
  slice.mutable_layers(0)->set_next_step(30);
  Register();
  Grant(slice);
  Renew();
  Load();
  ASSERT_EQ(loaded.layers_size(), 1);
  EXPECT_EQ(loaded.layers(0).layer(), 4u);
}

TEST_F(AgentTest, AFinishedLayerCompletesThoughItIsAskedBack) {
  Begin(SliceOf({4, 5}, 39));
  Step();
  Copy();
  Yield({4, 5}, v1::END_CAUSE_PAUSED);
  Publish();
  TakeCall<v1::CompleteRequest>();
}

TEST_F(AgentTest, CompletesTheEndOfARangeBeforeItGivesBackTheMiddle) {
  v1::Slice slice = SliceOf({4, 5, 6}, 35);
  slice.mutable_layers(2)->set_total_steps(36);
  Begin(slice);
  Step();
  EXPECT_THAT(Copy().copy, ElementsAre(6));
  Yield({5, 6}, v1::END_CAUSE_RECUT);
  EXPECT_THAT(Copy().copy, ElementsAre(5));
  EXPECT_THAT(LayersOf(Publish()), ElementsAre(5));
  Copy();
  Publish();
  EXPECT_THAT(NumbersOf(Make<v1::CompleteRequest>().layers()), ElementsAre(6));
  EXPECT_THAT(NumbersOf(Make<v1::ReleaseLeaseRequest>().layers()), ElementsAre(5));
}

TEST_F(AgentTest, ACompletionOutOfTurnFailsTheSlice) {
  Begin(SliceOf({4}, 39));
  Step();
  Copy();
  Publish();
  Refuse<v1::CompleteRequest>(absl::FailedPreconditionError("below its total"));
  EXPECT_EQ(TakeCall<v1::FailRequest>().cause(), v1::END_CAUSE_INFRASTRUCTURE);
}

TEST_F(AgentTest, TakesAStopBecauseAllIsCompletedAsTheEnd) {
  Begin(SliceOf({4}, 39));
  Step();
  Copy();
  Publish();
  Refuse<v1::CompleteRequest>(absl::UnavailableError("lost"));
  Stop({4}, v1::END_CAUSE_COMPLETED);
  EXPECT_EQ(TakeCallLater<v1::ReleaseLeaseRequest>().cause(), v1::END_CAUSE_COMPLETED);
  Answer();
  TakeCall<v1::LeaseRequest>();
}

// ---- failing

TEST_F(AgentTest, AStepsErrorFailsItsLayers) {
  Begin(SliceOf({4, 5}));
  TakeWork<StepOrder>();
  EndWork(absl::InvalidArgumentError("the loss is not a number"), {5});
  TakeWork<DiscardOrder>();
  const auto fail = Make<v1::FailRequest>();
  EXPECT_THAT(NumbersOf(fail.layers()), ElementsAre(5));
  EXPECT_EQ(fail.cause(), v1::END_CAUSE_USER_ERROR);
  EXPECT_EQ(fail.message(), "the loss is not a number");
  EXPECT_EQ(fail.token(), 41u);
  TakeCall<v1::LeaseRequest>();
}

TEST_F(AgentTest, TheCodeOfALoadsErrorSaysTheCause) {
  const std::vector<std::pair<absl::Status, v1::EndCause>> cases = {
      {absl::InvalidArgumentError("x"), v1::END_CAUSE_USER_ERROR},
      {absl::InternalError("x"), v1::END_CAUSE_USER_ERROR},
      {absl::NotFoundError("x"), v1::END_CAUSE_WRONG_INPUT},
      {absl::FailedPreconditionError("x"), v1::END_CAUSE_WRONG_INPUT},
      {absl::ResourceExhaustedError("x"), v1::END_CAUSE_INFRASTRUCTURE},
      {absl::DataLossError("x"), v1::END_CAUSE_INFRASTRUCTURE},
      {absl::UnknownError("x"), v1::END_CAUSE_INFRASTRUCTURE},
  };
  for (const auto& [status, cause] : cases) {
    SCOPED_TRACE(status.ToString());
    agent = Agent(Registration(), 7);
    Register();
    Grant(SliceOf({4, 5}));
    TakeWork<LoadOrder>();
    EndWork(status);
    const auto fail = TakeCall<v1::FailRequest>();
    EXPECT_EQ(fail.cause(), cause);
    EXPECT_THAT(NumbersOf(fail.layers()), ElementsAre(4, 5));
  }
}

TEST_F(AgentTest, RepeatsAFailUntilItIsHeard) {
  Begin(SliceOf({4}));
  TakeWork<StepOrder>();
  EndWork(absl::ResourceExhaustedError("no memory"));
  Refuse<v1::FailRequest>(absl::UnavailableError(""));
  TakeCallLater<v1::FailRequest>();
  Answer(absl::AbortedError("another epoch"));
  Register(6);
  EXPECT_EQ(TakeCall<v1::FailRequest>().epoch(), 6u);
}

TEST_F(AgentTest, LoadsAgainWhenTheOrchestratorDidNotKnowItMeanwhile) {
  Register(5);
  Grant(SliceOf({4}));
  TakeWork<LoadOrder>();
  EndWork(absl::AbortedError("another epoch"));
  ExpectNoWork();
  EXPECT_LE(agent.NextDueMs(now), now + 300);  // the back-off
  Register(6);
  now += 300;
  ExpectNoWork();
  Renew();
  Load();
  TakeWork<StepOrder>();
}

TEST_F(AgentTest, ANewLeaseIsLoadedAtOnceThoughTheLastOneBackedOff) {
  Register(5);
  Grant(SliceOf({4}));
  TakeWork<LoadOrder>();
  EndWork(absl::AbortedError("another epoch"));
  Register(6);
  Stop({4}, v1::END_CAUSE_INFRASTRUCTURE);
  Make<v1::ReleaseLeaseRequest>();
  Grant(SliceOf({7}));
  TakeWork<LoadOrder>();
}

TEST_F(AgentTest, TheWorkOfALeaseThatIsOverDoesNotTouchTheNextOne) {
  Begin(SliceOf({4}));
  TakeWork<StepOrder>();
  Stop({4}, v1::END_CAUSE_INFRASTRUCTURE);
  Make<v1::ReleaseLeaseRequest>();
  v1::Slice next = SliceOf({7});
  next.set_token(42);
  Grant(next);
  EXPECT_TRUE(agent.StopsWork(now));
  EndWork(absl::InvalidArgumentError("of the old one"));
  TakeWork<DiscardOrder>();
  EndWork(absl::OkStatus());
  EXPECT_EQ(TakeWork<LoadOrder>().slice.token(), 42u);
  ExpectNoCall();
}

// ---- stages of one task

TEST_F(AgentTest, PreparesAndCompletesWithWhatItFound) {
  v1::Slice slice = SliceOf({0}, 0, 0);
  slice.set_stage(v1::STAGE_PREPARE);
  slice.clear_input();
  slice.mutable_job()->set_name("quickstart");
  Register();
  Grant(slice);
  EXPECT_EQ(TakeWork<PrepareOrder>().slice.job().name(), "quickstart");
  v1::PreparedRun prepared;
  prepared.mutable_shape()->set_layers(12);
  agent.OnWorkEnd(now, {.status = absl::OkStatus(), .result = prepared, .failed_layers = {}});
  EXPECT_EQ(Make<v1::CompleteRequest>().prepared().shape().layers(), 12u);
  TakeCall<v1::LeaseRequest>();
  ExpectNoWork();
}

TEST_F(AgentTest, APreparationThatIsAskedBackStops) {
  v1::Slice slice = SliceOf({0}, 0, 0);
  slice.set_stage(v1::STAGE_PREPARE);
  Register();
  Grant(slice);
  TakeWork<PrepareOrder>();
  Yield({0}, v1::END_CAUSE_PAUSED);
  EXPECT_TRUE(agent.StopsWork(now));
  EndWork(absl::CancelledError(""));
  EXPECT_EQ(TakeCall<v1::ReleaseLeaseRequest>().cause(), v1::END_CAUSE_PAUSED);
}

class EndToEndTest : public AgentTest {
 protected:
  static v1::Slice EndToEnd(uint64_t next_step, uint64_t total_steps) {
    v1::Slice slice = SliceOf({0}, next_step, total_steps);
    slice.set_stage(v1::STAGE_END_TO_END);
    return slice;
  }
  void EndResult() {
    std::vector<SavedLayer> saved;
    saved.push_back({.layer = 0, .step = totals[0], .loss = 0.25, .tensors = {}});
    saved.back().tensors.push_back(
        {.name = "result.json", .dtype = v1::DATA_TYPE_U8, .shape = {2}, .bytes = "{}"});
    agent.OnWorkEnd(now, {.status = absl::OkStatus(), .result = std::move(saved), .failed_layers = {}});
  }
};

TEST_F(EndToEndTest, PublishesTheLastStepThenTheResultThenCompletes) {
  Begin(EndToEnd(9, 10));
  Step();
  Copy();
  TakeWork<MakeResultOrder>();  // beside the publish of the last step
  EXPECT_EQ(Renew().progress().phase(), v1::SLICE_PHASE_MEASURING);
  EXPECT_EQ(Publish().kind(), v1::PUBLISH_KIND_CHECKPOINT);
  ExpectNoCall();
  EndResult();
  const auto result = Publish();
  EXPECT_EQ(result.kind(), v1::PUBLISH_KIND_RESULT);
  EXPECT_EQ(result.layers(0).step(), 10u);
  Make<v1::CompleteRequest>();
  TakeCall<v1::LeaseRequest>();
}

TEST_F(EndToEndTest, AStageWithoutStepsHasOnlyAResult) {
  Begin(EndToEnd(0, 0));
  TakeWork<MakeResultOrder>();
  EndResult();
  EXPECT_EQ(Publish().kind(), v1::PUBLISH_KIND_RESULT);
  TakeCall<v1::CompleteRequest>();
}

TEST_F(EndToEndTest, AResultThatWaitsForALostPublishFollowsIt) {
  Begin(EndToEnd(9, 10));
  Step();
  Copy();
  BeginPublish(23);
  TakeWork<MakeResultOrder>();
  EndResult();
  Refuse<UploadOrder>(absl::NotFoundError("restarted"));
  EXPECT_EQ(TakeCallLater<v1::BeginPublishRequest>().kind(), v1::PUBLISH_KIND_CHECKPOINT);
}

TEST_F(EndToEndTest, MeasuringStopsWhenItIsAskedBack) {
  Begin(EndToEnd(9, 10));
  Step();
  Copy();
  Publish();
  TakeWork<MakeResultOrder>();
  Yield({0}, v1::END_CAUSE_PREEMPTION);
  EXPECT_TRUE(agent.StopsWork(now));
  EndWork(absl::CancelledError(""));
  EXPECT_THAT(Copy().copy, ElementsAre());
  EXPECT_EQ(TakeCall<v1::ReleaseLeaseRequest>().cause(), v1::END_CAUSE_PREEMPTION);
}

}  // namespace
}  // namespace retort
