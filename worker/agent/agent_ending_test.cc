// SIGTERM and drain.
#include "worker/agent/testing_agent.h"

namespace retort {
namespace {

using testing::ElementsAre;

v1::HeartbeatReply LeaveCommand() {
  v1::HeartbeatReply reply;
  reply.set_command(v1::WORKER_COMMAND_LEAVE);
  return reply;
}

TEST_F(AgentTest, SavesGivesBackAndSaysGoodByeWhenToldToEnd) {
  Begin(SliceOf({4, 5}));
  Step(3);
  TakeWork<StepOrder>();
  agent.Terminate(now, 25'000);
  EXPECT_FALSE(agent.StopsWork(now));
  EndStep();
  EXPECT_THAT(Copy().copy, ElementsAre(4, 5));
  EXPECT_EQ(Publish().layers(0).step(), 4u);
  const auto release = Make<v1::ReleaseLeaseRequest>();
  EXPECT_THAT(NumbersOf(release.layers()), ElementsAre(4, 5));
  EXPECT_EQ(release.cause(), v1::END_CAUSE_PREEMPTION);
  Make<v1::LeaveRequest>();
  ASSERT_TRUE(agent.end().has_value());
  EXPECT_EQ(*agent.end(), absl::OkStatus());
}

TEST_F(AgentTest, DropsAStepThatWouldTakeTooMuchOfTheGrace) {
  Begin(SliceOf({4}));
  Step(3);
  TakeWork<StepOrder>();
  agent.Terminate(now, 10'000);
  EXPECT_FALSE(agent.StopsWork(now + 3'999));
  EXPECT_TRUE(agent.StopsWork(now + 4'000));
  EXPECT_LE(agent.NextDueMs(now + 3'500), now + 4'001);
  now += 4'000;
  EndWork(absl::CancelledError(""));
  Copy();
  EXPECT_EQ(Publish().layers(0).step(), 3u);
}

TEST_F(AgentTest, SaysGoodByeAloneWhenTimeWillNotDo) {
  Begin(SliceOf({4}));
  Step();
  agent.Terminate(now, 10'000);
  Copy();
  BeginPublish();
  TakeCall<UploadOrder>();
  EXPECT_FALSE(agent.StopsCall(now + 7'999));
  now += 8'000;
  EXPECT_TRUE(agent.StopsCall(now));
  Answer(absl::CancelledError(""));
  Refuse<v1::LeaveRequest>(absl::UnavailableError(""));
  ExpectNoCall();  // it backs off, though only a little
  TakeCallLater<v1::LeaveRequest>();
  Answer();
  EXPECT_EQ(*agent.end(), absl::OkStatus());
}

TEST_F(AgentTest, EndsWithTheGraceWhenNobodyHearsTheGoodBye) {
  Register();
  agent.Terminate(now, 10'000);
  Refuse<v1::LeaveRequest>(absl::UnavailableError(""));
  now += 10'000;
  ExpectNoCall();
  ASSERT_TRUE(agent.end().has_value());
  EXPECT_EQ(agent.end()->code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(AgentTest, BreaksOffAGoodByeThatIsNotAnsweredWithinTheGrace) {
  Register();
  agent.Terminate(now, 10'000);
  TakeCall<v1::LeaveRequest>();
  now += 9'999;
  EXPECT_FALSE(agent.StopsCall(now));
  now += 1;
  EXPECT_TRUE(agent.StopsCall(now));
}

TEST_F(AgentTest, ABackOffDoesNotOutlastTheTimeForTheGoodBye) {
  Begin(SliceOf({4}));
  Step();
  agent.Terminate(now, 5'000);
  Copy();
  Describe();
  const int64_t leave_ms = now + 4'000;
  for (; now < leave_ms; now = agent.NextDueMs(now)) {
    const std::optional<AgentCall> call = agent.NextCall(now);
    if (!call) continue;
    EXPECT_TRUE(std::holds_alternative<v1::BeginPublishRequest>(*call));
    Answer(absl::UnavailableError(""));
  }
  EXPECT_EQ(now, leave_ms);
  TakeCall<v1::LeaveRequest>();
}

TEST_F(AgentTest, BreaksOffTheWaitForALease) {
  Register();
  TakeCall<v1::LeaseRequest>();
  EXPECT_FALSE(agent.StopsCall(now));
  agent.Terminate(now, 10'000);
  EXPECT_TRUE(agent.StopsCall(now));
  v1::LeaseReply granted;
  *granted.mutable_slice() = SliceOf({4});
  Answer(absl::OkStatus(), granted);  // it came all the same
  TakeCall<v1::LeaveRequest>();
}

TEST_F(AgentTest, EndsAtOnceWhenItWasNeverKnown) {
  agent.Terminate(now, 10'000);
  ExpectNoCall();
  ASSERT_TRUE(agent.end().has_value());
  EXPECT_EQ(*agent.end(), absl::OkStatus());
}

TEST_F(AgentTest, RegistersAgainToSaveWhenTheOrchestratorHasRestarted) {
  Begin(SliceOf({4}));
  Step();
  agent.Terminate(now, 25'000);
  Copy();
  Describe();
  Refuse<v1::BeginPublishRequest>(absl::AbortedError("another epoch"));
  Register(6);
  Renew();
  EXPECT_EQ(TakeCall<v1::BeginPublishRequest>().epoch(), 6u);
}

TEST_F(AgentTest, ADrainedWorkerGivesBackAndLeaves) {
  Begin(SliceOf({4}));
  Step();
  SendHeartbeat();
  v1::HeartbeatReply reply = LeaveCommand();
  reply.mutable_verdict()->set_token(41);
  reply.mutable_verdict()->set_action(v1::LEASE_ACTION_CONTINUE);
  agent.OnHeartbeatEnd(now, reply);
  Copy();
  Publish();
  EXPECT_EQ(Make<v1::ReleaseLeaseRequest>().cause(), v1::END_CAUSE_PREEMPTION);
  Make<v1::LeaveRequest>();
  EXPECT_EQ(*agent.end(), absl::OkStatus());
}

TEST_F(AgentTest, AnIdleDrainedWorkerLeaves) {
  Register();
  TakeCall<v1::LeaseRequest>();
  SendHeartbeat();
  agent.OnHeartbeatEnd(now, LeaveCommand());
  EXPECT_TRUE(agent.StopsCall(now));
  Answer(absl::CancelledError(""));
  TakeCall<v1::LeaveRequest>();
}

TEST_F(AgentTest, CompletesWhatIsFinishedBeforeItLeaves) {
  v1::Slice slice = SliceOf({4, 5}, 39);
  slice.mutable_layers(0)->set_next_step(35);
  Begin(slice);
  Step(5);
  ASSERT_EQ(steps[4], 40u);
  Copy();
  agent.Terminate(now, 25'000);
  Publish();
  EXPECT_THAT(NumbersOf(Make<v1::CompleteRequest>().layers()), ElementsAre(4, 5));
  TakeCall<v1::LeaveRequest>();
}

}  // namespace
}  // namespace retort
