// Who makes what is asked for, and when training waits: without a network.
#include "worker/relay/relay_state.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "train/stages/testing_tiny.h"

namespace retort {
namespace {

using Finding = RelayState::Finding;

constexpr uint64_t kRun = 3, kToken = 41;
constexpr v1::Stage kStage1 = v1::STAGE_MATRIX_ORIENTATION, kStage2 = v1::STAGE_HIDDEN_STATE_ALIGNMENT;
constexpr int64_t kLead = 4, kBoundary = 2, kSteps = 100;

class RelayStateTest : public testing::Test {
 protected:
  RelayStateTest() { Begin(kStage1, kToken, Orders(0)); }

  static v1::RelayOrders Orders(std::optional<uint64_t> low_step) {
    v1::RelayOrders orders;
    if (low_step) orders.set_low_step(*low_step);
    return orders;
  }
  void Begin(v1::Stage stage, uint64_t token, const v1::RelayOrders& orders, uint64_t run_id = kRun) {
    auto run = std::make_shared<ServedRun>();
    run->run_id = run_id;
    run->identity_sha256 = "identity";
    run->teacher_sha256 = "teacher";
    for (const Stage stage : {Stage::kMatrixOrientation, Stage::kHiddenStateAlignment}) {
      run->plans.push_back(TinyPlan(stage));
      run->plans.back().steps = kSteps;
    }
    state.BeginSlice(run,
                     {.token = token,
                      .run_id = run_id,
                      .stage = stage,
                      .output_boundary = kBoundary,
                      .limits = {.lead_steps = kLead,
                                 .prefetch = 2,
                                 .micro_batch_bytes = 4,
                                 .buffer_bytes = 4 * 2 * (kLead + 1)}},
                     orders);
  }
  // A step is trained, of one micro-batch.
  void Train(int64_t step) {
    state.BeginStep(step, kBoundary);
    state.Put(step, 0, at::full({1, 1, 1}, static_cast<double>(step)));
    state.EndStep(step + 1);
  }
  static v1::PullRequest Request(uint64_t step, std::optional<uint64_t> low_step = {},
                                 v1::Stage stage = kStage1) {
    v1::PullRequest request;
    request.mutable_batch()->set_run_id(kRun);
    request.mutable_batch()->set_stage(stage);
    request.mutable_batch()->set_step(step);
    request.mutable_batch()->set_boundary(kBoundary);
    request.set_identity_sha256("identity");
    request.set_teacher_sha256("teacher");
    if (low_step) request.set_low_step(*low_step);
    return request;
  }
  Finding Find(const v1::PullRequest& request, int64_t after_ms = 0) {
    return state.Find(request, RelayNowMs() + after_ms).finding;
  }
  bool MayTrain(int64_t step) { return state.AwaitTurn(step, 0, kGoOn); }

  RelayState state;
};

TEST_F(RelayStateTest, WhatTrainingPutOutIsAtHandUntilTheSliceAboveHasPassedIt) {
  for (int64_t step = 0; step < 3; ++step) Train(step);
  const RelayState::Found found = state.Find(Request(1, 1), RelayNowMs());
  ASSERT_EQ(found.finding, Finding::kAtHand);
  EXPECT_EQ(found.hidden_BTE.item<float>(), 1.0f);
  EXPECT_EQ(Find(Request(0)), Finding::kTeacher) << "passed";
  EXPECT_EQ(Find(Request(2)), Finding::kAtHand);
}

TEST_F(RelayStateTest, WhatTrainingComesToSoonIsWaitedFor) {
  state.BeginStep(5, kBoundary);
  EXPECT_EQ(Find(Request(5)), Finding::kTrainingComes);
  EXPECT_EQ(Find(Request(5 + kLead - 1)), Finding::kTrainingComes);
  EXPECT_EQ(Find(Request(5 + kLead)), Finding::kTeacher) << "too far ahead";
  EXPECT_EQ(Find(Request(4)), Finding::kTeacher) << "before it";
  EXPECT_EQ(Find(Request(5, {}, kStage2)), Finding::kTeacher) << "another stage";
  EXPECT_EQ(Find(Request(5), 60'000), Finding::kTrainingComes) << "a long step";
}

TEST_F(RelayStateTest, ASliceAboveWaitsForTrainingThatWasSetBackWhileItPays) {
  state.BeginStep(20, kBoundary);
  EXPECT_EQ(Find(Request(59, 59)), Finding::kTrainingComes) << "39 steps to come, 41 to be asked for";
  EXPECT_EQ(Find(Request(60, 60)), Finding::kTeacher) << "40 and 40";
  EXPECT_EQ(Find(Request(40)), Finding::kTeacher) << "asked on behalf of another";
  EXPECT_EQ(Find(Request(40, 40, kStage2)), Finding::kTeacher) << "another stage";
  state.EndStep(21);
  EXPECT_EQ(Find(Request(59, 59), 4'000), Finding::kTeacher) << "training has stopped";
  state.EndSlice();
  state.BeginLoad(
      {.token = 42, .run_id = kRun, .stage = kStage1, .first_step = 20, .output_boundary = kBoundary});
  EXPECT_EQ(Find(Request(59, 59)), Finding::kTrainingComes);
  EXPECT_EQ(Find(Request(60, 60)), Finding::kTeacher);
}

TEST_F(RelayStateTest, TrainingThatStaysAwayIsNotWaitedFor) {
  Train(0);
  EXPECT_EQ(Find(Request(1), 2'000), Finding::kTrainingComes);
  EXPECT_EQ(Find(Request(1), 4'000), Finding::kTeacher);
  state.EndSlice();
  EXPECT_EQ(Find(Request(1)), Finding::kTeacher);
  EXPECT_EQ(Find(Request(0)), Finding::kAtHand) << "the end of a slice is still asked for";
}

TEST_F(RelayStateTest, AnotherRunOrTeacherIsNotServedAndOneThatLoadsIsWaitedFor) {
  v1::PullRequest foreign = Request(0);
  foreign.set_teacher_sha256("another");
  EXPECT_EQ(Find(foreign), Finding::kNotServed);
  v1::PullRequest other = Request(0);
  other.mutable_batch()->set_run_id(4);
  EXPECT_EQ(Find(other), Finding::kNotServed);
  state.BeginLoad({.token = 42, .run_id = 4, .stage = kStage1});
  EXPECT_EQ(Find(other), Finding::kLoading);
  EXPECT_EQ(Find(Request(0)), Finding::kNotServed);
  Begin(kStage1, 42, Orders(0), 4);
  EXPECT_EQ(Find(Request(0)), Finding::kNotServed);
}

TEST_F(RelayStateTest, TheFirstStepsOfASliceThatLoadsAreWaitedFor) {
  state.EndSlice();
  state.BeginLoad(
      {.token = 42, .run_id = kRun, .stage = kStage2, .first_step = 6, .output_boundary = kBoundary});
  EXPECT_EQ(Find(Request(6, {}, kStage2)), Finding::kTrainingComes);
  EXPECT_EQ(Find(Request(5, {}, kStage2)), Finding::kTeacher);
  EXPECT_EQ(Find(Request(6, {}, kStage1)), Finding::kTeacher);
}

TEST_F(RelayStateTest, TheFirstPullCountsBeforeTheOrdersDo) {
  Begin(kStage1, 42, Orders(std::nullopt));
  EXPECT_FALSE(state.is_wanted());
  EXPECT_EQ(Find(Request(0, 0)), Finding::kTrainingComes);
  EXPECT_TRUE(state.is_wanted());
}

TEST_F(RelayStateTest, TrainingGoesItsLeadBeyondTheSlowestSliceAbove) {
  EXPECT_TRUE(MayTrain(kLead - 1));
  EXPECT_FALSE(MayTrain(kLead));
  state.TakeOrders(kToken, Orders(1));
  EXPECT_TRUE(MayTrain(kLead));
  EXPECT_FALSE(MayTrain(kLead + 1));
}

TEST_F(RelayStateTest, APullBringsTheLowWaterMarkSoonerThanTheOrders) {
  state.Find(Request(7, 7), RelayNowMs());
  EXPECT_TRUE(MayTrain(7 + kLead - 1));
  state.TakeOrders(kToken, Orders(2));
  EXPECT_TRUE(MayTrain(7 + kLead - 1)) << "older news";
  EXPECT_FALSE(MayTrain(7 + kLead));
}

TEST_F(RelayStateTest, ASliceAboveThatBeginsAgainHoldsTrainingBack) {
  state.TakeOrders(kToken, Orders(7));
  state.Find(Request(9, 9), RelayNowMs());
  state.TakeOrders(kToken, Orders(5));
  EXPECT_TRUE(MayTrain(5 + kLead - 1));
  EXPECT_FALSE(MayTrain(5 + kLead));
}

TEST_F(RelayStateTest, TrainingIsFreeOnceNobodyIsCountedAbove) {
  EXPECT_FALSE(MayTrain(100));
  state.TakeOrders(kToken, Orders(std::nullopt));
  EXPECT_TRUE(MayTrain(100));
  EXPECT_FALSE(state.is_wanted());
}

TEST_F(RelayStateTest, TheBufferIsBoundedAndKeepsTheNewest) {
  for (int64_t step = 0; step < 30; ++step) Train(step);
  EXPECT_EQ(Find(Request(19)), Finding::kTeacher);
  EXPECT_EQ(Find(Request(20)), Finding::kAtHand);
  EXPECT_EQ(Find(Request(29)), Finding::kAtHand);
}

TEST_F(RelayStateTest, TheEndOfStageOneOutlastsTheBeginningOfStageTwo) {
  for (int64_t step = 6; step < 10; ++step) Train(step);
  state.EndSlice();
  Begin(kStage2, 42, Orders(0));
  for (int64_t step = 0; step < kLead; ++step) Train(step);
  EXPECT_EQ(Find(Request(6)), Finding::kAtHand);
  EXPECT_EQ(Find(Request(0, 0, kStage2)), Finding::kAtHand);
  EXPECT_EQ(Find(Request(9)), Finding::kTeacher) << "the slice above is in stage 2";
}

TEST_F(RelayStateTest, AVerdictThatCameBeforeTheLoadEndedIsNewerThanTheGrant) {
  state.TakeOrders(42, Orders(3));
  Begin(kStage1, 42, Orders(0));
  EXPECT_TRUE(MayTrain(3 + kLead - 1));
}

TEST_F(RelayStateTest, AStallIsNoPartOfWhatAHopTakes) {
  for (const double seconds : {0.5, 0.25, 30.0}) state.counts().AddReceived(/*bytes=*/4, seconds);
  EXPECT_EQ(state.counts().fastest_nanoseconds, 250'000'000u);
  EXPECT_EQ(state.counts().received_bytes, 12u);
  Begin(kStage2, 42, Orders(0));
  EXPECT_EQ(state.counts().fastest_nanoseconds, 0u) << "of this slice nothing came yet";
}

TEST_F(RelayStateTest, AnUpstreamThatIsNoLongerNamedIsStillAsked) {
  v1::RelayOrders orders;
  orders.mutable_upstream()->set_address("10.0.0.1:7");
  state.TakeOrders(kToken, orders);
  state.TakeOrders(kToken, {});
  ASSERT_TRUE(state.upstream());
  EXPECT_EQ(state.upstream()->address(), "10.0.0.1:7");
  Begin(kStage1, 42, {}, /*run_id=*/4);
  EXPECT_FALSE(state.upstream()) << "of another run";
}

}  // namespace
}  // namespace retort
