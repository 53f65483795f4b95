// Which run gets which worker, and which layers.
#include "orchestrator/state/replan.h"

#include <algorithm>
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orchestrator/state/testing_cluster.h"

namespace retort::orchestrator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr v1::Stage kStage1 = v1::STAGE_MATRIX_ORIENTATION;
constexpr v1::Stage kStage2 = v1::STAGE_HIDDEN_STATE_ALIGNMENT;

class Replan : public testing::Test {
 protected:
  Replan() { cluster_.options.recut_cost_ms = 0; }

  // Workers with a target for the run.
  size_t WorkersOf(uint64_t run_id) const {
    size_t count = 0;
    for (const auto& [id, target] : cluster_.state.placement.targets) count += target.run_id == run_id;
    return count;
  }
  std::vector<uint32_t> Target(const std::string& name) const {
    const auto target = cluster_.state.placement.targets.find(TestCluster::IdOfWorker(name));
    if (target == cluster_.state.placement.targets.end()) return {};
    return {target->second.first_layer, target->second.last_layer};
  }

  TestCluster cluster_;
};

TEST_F(Replan, CutsByTheSpeedOfTheWorkers) {
  cluster_.Register("slow", 50);
  cluster_.Register("fast", 200);
  const uint64_t run_id = cluster_.SubmitPrepared(SixLayerJob(), "fast");
  cluster_.Replan();
  EXPECT_THAT(Target("slow"), ElementsAre(0, 0));
  EXPECT_THAT(Target("fast"), ElementsAre(1, 5));
  EXPECT_EQ(WorkersOf(run_id), 2u);
}

TEST_F(Replan, ServesAHigherPriorityFirst) {
  cluster_.Register("a");
  cluster_.Register("b");
  const uint64_t low = cluster_.SubmitPrepared(SixLayerJob("low"), "a");
  const v1::Slice of_a = cluster_.TakeSlice("a");
  const v1::Slice of_b = cluster_.TakeSlice("b");
  EXPECT_EQ(of_b.run_id(), low);
  const uint64_t high = cluster_.Submit(SixLayerJob("high"), 5);
  cluster_.Replan();
  EXPECT_EQ(WorkersOf(high), 1u);  // PREPARE needs one
  const auto asked = cluster_.EventsOf(v1::EVENT_KIND_LEASE_YIELD_ASKED);
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].cause(), v1::END_CAUSE_PREEMPTION);
  EXPECT_THAT(asked[0].text(), HasSubstr("shall work for high (run 2), of priority 5"));
  const std::string name = asked[0].worker_name();
  EXPECT_EQ(cluster_.Heartbeat(name, 3).reply.verdict().action(), v1::LEASE_ACTION_YIELD);
  const v1::Slice& slice = name == "a" ? of_a : of_b;
  cluster_.Release(name, slice.token(), TestCluster::LayersOf(slice), v1::END_CAUSE_PREEMPTION);
  EXPECT_EQ(cluster_.TakeSlice(name).run_id(), high);
}

TEST_F(Replan, SharesEquallyAmongRunsOfOnePriority) {
  for (const char* name : {"a", "b", "c", "d"}) cluster_.Register(name);
  const uint64_t first = cluster_.SubmitPrepared(SixLayerJob("first"), "a");
  cluster_.Replan();
  EXPECT_EQ(WorkersOf(first), 4u);
  const uint64_t second = cluster_.SubmitPrepared(SixLayerJob("second"), "b");
  cluster_.Replan();
  EXPECT_EQ(WorkersOf(first), 2u);
  EXPECT_EQ(WorkersOf(second), 2u);
}

TEST_F(Replan, GivesTheOddWorkerToTheOlderRun) {
  for (const char* name : {"a", "b", "c"}) cluster_.Register(name);
  const uint64_t first = cluster_.SubmitPrepared(SixLayerJob("first"), "a");
  const uint64_t second = cluster_.SubmitPrepared(SixLayerJob("second"), "b");
  cluster_.Replan();
  EXPECT_EQ(WorkersOf(first), 2u);
  EXPECT_EQ(WorkersOf(second), 1u);
}

TEST_F(Replan, TakesWorkersAlikeForARun) {
  cluster_.Register("a", 100);
  cluster_.Register("b", 100);
  v1::RegisterRequest other = TestCluster::RegistrationOf("c");
  other.mutable_capabilities()->set_threads(4);
  other.mutable_capabilities()->set_measured_gflops(150);
  cluster_.Do(DecideRegister(cluster_.now, cluster_.state, cluster_.options, other));
  const uint64_t run_id = cluster_.SubmitPrepared(SixLayerJob(), "c");
  cluster_.Replan();
  EXPECT_EQ(WorkersOf(run_id), 2u);  // a and b are faster together than c
  EXPECT_TRUE(Target("c").empty());
  EXPECT_EQ(cluster_.TakeSlice("a").numerics().threads(), 2);
}

TEST_F(Replan, LeavesAWorkerIdleThatWouldNotShortenTheRun) {
  for (int i = 0; i < 9; ++i) cluster_.Register("w" + std::to_string(i));
  cluster_.SubmitPrepared(SixLayerJob(), "w0");
  EXPECT_THAT(cluster_.Replan(), HasSubstr("of 9 workers needed: 1 run can use"));
  size_t idle = 0;
  for (int i = 0; i < 9; ++i) {
    const auto lease = cluster_.Lease("w" + std::to_string(i));
    if (lease.reply.has_slice()) continue;
    ++idle;
    EXPECT_EQ(lease.reply.reason(), cluster_.state.placement.idle_reason);
  }
  EXPECT_GE(idle, 3u);
}

TEST_F(Replan, RecutsForAWorkerThatCameLate) {
  cluster_.Register("a");
  cluster_.SubmitPrepared(SixLayerJob(), "a");
  const v1::Slice all = cluster_.TakeSlice("a");
  cluster_.Heartbeat("a", 10);
  cluster_.Register("b");
  cluster_.Replan();
  const auto verdict = cluster_.Heartbeat("a", 12).reply.verdict();
  EXPECT_EQ(verdict.action(), v1::LEASE_ACTION_YIELD);
  EXPECT_EQ(verdict.cause(), v1::END_CAUSE_RECUT);
  EXPECT_THAT(verdict.layers(), ElementsAre(4, 5));
  // b waits for what it shall have, and gets it with the steps that a published.
  cluster_.Replan();
  EXPECT_EQ(cluster_.Lease("b").reply.reason(), "waits for layer 4, which a still holds");
  cluster_.Publish("a", all.token(), {4, 5}, 12);
  cluster_.Release("a", all.token(), {4, 5}, v1::END_CAUSE_RECUT);
  const v1::Slice upper = cluster_.TakeSlice("b");
  EXPECT_THAT(TestCluster::LayersOf(upper), ElementsAre(4, 5));
  EXPECT_EQ(upper.layers(0).next_step(), 12);
  EXPECT_EQ(cluster_.state.FindLease(all.token())->record.layer_count(), 4);
  // The token still stands, but no longer on what went.
  EXPECT_EQ(cluster_.TryPublish("a", all.token(), {3, 4}, 20),
            absl::AbortedError(
                "BeginPublish under token 2 is stale: layer 4 is LEASED under token 3; heartbeat, and "
                "obey the verdict"));
}

TEST_F(Replan, AsksAHolderThatShallHaveMoreForAllItHas) {
  cluster_.options.recut_interval_ms = 0;
  for (const char* name : {"a", "b", "c"}) cluster_.Register(name);
  const uint64_t run_id = cluster_.SubmitPrepared(SixLayerJob(), "a");
  std::map<std::string, std::vector<uint32_t>> held;
  for (const char* name : {"a", "b", "c"}) held[name] = TestCluster::LayersOf(cluster_.TakeSlice(name));
  const auto top = std::max_element(held.begin(), held.end(),
                                    [](const auto& a, const auto& b) { return a.second < b.second; });
  cluster_.Leave(top->first);
  held.erase(top);
  cluster_.Advance(60'000);  // past the back-off
  for (const auto& [name, layers] : held) cluster_.Heartbeat(name, 3);
  cluster_.Replan();
  ASSERT_THAT(cluster_.state.placement.run_reason.at(run_id), HasSubstr("cut anew over 2 workers"));
  for (const auto& [name, layers] : held) {
    const auto verdict = cluster_.Heartbeat(name, 3).reply.verdict();
    EXPECT_EQ(verdict.action(), v1::LEASE_ACTION_YIELD) << name;
    EXPECT_THAT(verdict.layers(), testing::ElementsAreArray(layers)) << name;
  }
}

TEST_F(Replan, DoesNotRecutForLittle) {
  cluster_.options.recut_cost_ms = 3'600'000;
  cluster_.Register("a");
  cluster_.SubmitPrepared(SixLayerJob(), "a");
  cluster_.TakeSlice("a");
  cluster_.Heartbeat("a", 10);
  cluster_.Register("b");
  cluster_.Replan();
  EXPECT_EQ(cluster_.Heartbeat("a", 12).reply.verdict().action(), v1::LEASE_ACTION_CONTINUE);
  EXPECT_THAT(cluster_.state.placement.run_reason.at(1), HasSubstr("must save 3600 s"));
}

TEST_F(Replan, LearnsThatAWorkerIsSlowerThanItPromised) {
  cluster_.options.recut_interval_ms = 0;
  cluster_.Register("a", 100);
  cluster_.Register("b", 100);
  cluster_.SubmitPrepared(SixLayerJob(), "a");
  const v1::Slice of_a = cluster_.TakeSlice("a");
  const v1::Slice of_b = cluster_.TakeSlice("b");
  EXPECT_THAT(TestCluster::LayersOf(of_a).size() + TestCluster::LayersOf(of_b).size(), 6u);
  cluster_.Heartbeat("a", 10, 0.1, 0.01);
  cluster_.Publish("a", of_a.token(), TestCluster::LayersOf(of_a), 10);
  cluster_.Heartbeat("b", 2, 0.5, 0.05);
  cluster_.Replan();
  EXPECT_NEAR(cluster_.state.FindWorker(TestCluster::IdOfWorker("b"))->speed_ratio, 0.2, 0.01);
  EXPECT_NEAR(cluster_.state.FindWorker(TestCluster::IdOfWorker("a"))->speed_ratio, 1, 0.01);
  // The slow one is left with less, at the bottom.
  EXPECT_THAT(Target("b"), ElementsAre(0, 0));
  EXPECT_THAT(Target("a"), ElementsAre(1, 5));
}

TEST_F(Replan, LetsLayersInBothStagesRunAtOnce) {
  cluster_.Register("a", 100);
  cluster_.Register("b", 100);
  const uint64_t run_id = cluster_.SubmitPrepared(SixLayerJob(), "a");
  const v1::Slice of_a = cluster_.TakeSlice("a");
  const v1::Slice of_b = cluster_.TakeSlice("b");
  cluster_.Finish("a", of_a);
  const v1::Slice next = cluster_.TakeSlice("a");
  EXPECT_EQ(next.stage(), kStage2);
  EXPECT_EQ(TestCluster::LayersOf(next), TestCluster::LayersOf(of_a));
  EXPECT_EQ(cluster_.Task(run_id, kStage1, of_b.layers(0).layer()).state(), v1::TASK_STATE_LEASED);
}

TEST_F(Replan, GrantsARunOfOneStageAtATime) {
  // Layers 0 to 2 are in stage 2, 3 to 5 in stage 1; one worker is left.
  cluster_.Register("a", 100);
  cluster_.SubmitPrepared(SixLayerJob(), "a");
  const v1::Slice all = cluster_.TakeSlice("a");
  cluster_.Publish("a", all.token(), {0, 1, 2}, 40);
  cluster_.Complete("a", all.token(), {0, 1, 2});
  cluster_.Release("a", all.token(), {3, 4, 5}, v1::END_CAUSE_RECUT);
  const v1::Slice next = cluster_.TakeSlice("a");
  EXPECT_EQ(next.stage(), kStage1);
  EXPECT_THAT(TestCluster::LayersOf(next), ElementsAre(3, 4, 5));
}

TEST_F(Replan, WaitsOutABackoffAndTakesTheOthersMeanwhile) {
  cluster_.Register("a", 100);
  cluster_.SubmitPrepared(SixLayerJob(), "a");
  const v1::Slice all = cluster_.TakeSlice("a");
  cluster_.Fail("a", all.token(), {2}, v1::END_CAUSE_INFRASTRUCTURE, "no memory");
  const v1::Slice lower = cluster_.TakeSlice("a");
  EXPECT_THAT(TestCluster::LayersOf(lower), ElementsAre(0, 1));
  EXPECT_GT(cluster_.state.placement.next_backoff_unix_ms, cluster_.now.unix_ms);
  EXPECT_LE(NextReplanSteadyMs(cluster_.now, cluster_.state, cluster_.options),
            cluster_.now.steady_ms + 1'000);
}

TEST_F(Replan, SaysWhatDoesNotFit) {
  cluster_.Register("a", 100, /*memory_bytes=*/1 << 20);
  const uint64_t run_id = cluster_.SubmitPrepared(SixLayerJob(), "a");
  cluster_.Replan();
  EXPECT_THAT(cluster_.state.placement.run_reason.at(run_id), HasSubstr("1 have less than the 0.2 GiB"));
}

TEST_F(Replan, IsDueSoonAfterAChangeAndElseSeldom) {
  cluster_.Register("a");
  EXPECT_TRUE(cluster_.state.placement_stale);
  cluster_.Replan();
  EXPECT_EQ(NextReplanSteadyMs(cluster_.now, cluster_.state, cluster_.options),
            cluster_.now.steady_ms + 30'000);
  cluster_.Submit(SixLayerJob());
  EXPECT_EQ(NextReplanSteadyMs(cluster_.now, cluster_.state, cluster_.options), cluster_.now.steady_ms + 200);
}

}  // namespace
}  // namespace retort::orchestrator
