// Ranks of END_TO_END: rank 0 is a slice like any other, the others train and nothing else.
#include "worker/agent/testing_agent.h"

namespace retort {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

v1::Slice RankSlice(uint32_t rank, uint64_t total_steps = 3) {
  v1::Slice slice = SliceOf({rank}, /*next_step=*/0, total_steps);
  slice.set_stage(v1::STAGE_END_TO_END);
  slice.mutable_job()->mutable_checkpoint()->set_every_steps(1);
  slice.mutable_gang()->set_world_size(2);
  return slice;
}

class RankTest : public AgentTest {
 protected:
  // Ends a step that came out at `step`; 0: it was not its turn yet.
  void EndStepAt(uint32_t rank, uint64_t step) {
    TakeWork<StepOrder>();
    StepReport report;
    if (step > 0) report.layers.push_back({.layer = rank, .step = step, .loss = 0.5, .seconds = 0.5});
    steps[rank] = std::max(steps[rank], step);
    agent.OnWorkEnd(now, {.status = absl::OkStatus(), .result = report, .failed_layers = {}});
  }
};

TEST_F(RankTest, AnotherThanRankZeroTrainsOnAndPublishesAndCompletesNothing) {
  Begin(RankSlice(1));
  EndStepAt(1, 0);
  EndStepAt(1, 1);
  ExpectNoCall();
  EndStepAt(1, 3);
  ExpectNoCall();
  EndStepAt(1, 0);  // asked at its last step too, for another may need its state
  EXPECT_EQ(Renew().progress().layers(0).step(), 3u);
  TakeWork<StepOrder>();
  Stop({1}, v1::END_CAUSE_COMPLETED);
  EXPECT_EQ(Make<v1::ReleaseLeaseRequest>().cause(), v1::END_CAUSE_COMPLETED);
  EXPECT_TRUE(agent.StopsWork(now));
  EndWork(absl::CancelledError(""));
  TakeWork<DiscardOrder>();
}

TEST_F(RankTest, AnotherThanRankZeroGivesBackWithoutAPublish) {
  Begin(RankSlice(1));
  EndStepAt(1, 2);
  Yield({1}, v1::END_CAUSE_PAUSED);
  const CopyOrder order = Copy();
  EXPECT_THAT(order.copy, IsEmpty());
  EXPECT_THAT(order.drop, ElementsAre(1));
  EXPECT_EQ(Make<v1::ReleaseLeaseRequest>().cause(), v1::END_CAUSE_PAUSED);
}

TEST_F(RankTest, RankZeroPublishesWhatItHasTakenOver) {
  Begin(RankSlice(0));
  EndStepAt(0, 0);
  EndStepAt(0, 3);
  EXPECT_THAT(Copy().copy, ElementsAre(0));
  EXPECT_EQ(Publish().layers(0).step(), 3u);
}

}  // namespace
}  // namespace retort
