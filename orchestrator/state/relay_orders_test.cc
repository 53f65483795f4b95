// Who pulls from whom, and how far training may go ahead, as grants and heartbeats say.
#include "orchestrator/state/relay_orders.h"

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orchestrator/state/testing_cluster.h"

namespace retort::orchestrator {
namespace {

using testing::ElementsAre;

// Three workers with two of six layers each, in stage 1: a below b below c.
class ThreeSlices : public testing::Test {
 protected:
  ThreeSlices() {
    cluster_.options.relay = RelayPolicy::kAlways;
    cluster_.workers_serve = true;
    for (const char* name : {"a", "b", "c"}) cluster_.Register(name);
    cluster_.SubmitPrepared(SixLayerJob(), "a");
    for (const char* name : {"a", "b", "c"}) TakeSlice(name);
    // Which of them has which layers is the plan's matter.
    std::map<uint32_t, std::string> by_layer;
    for (const auto& [name, slice] : slices_) by_layer[slice.layers(0).layer()] = name;
    a_ = by_layer.at(0), b_ = by_layer.at(2), c_ = by_layer.at(4);
  }

  void TakeSlice(const std::string& name) { slices_[name] = cluster_.TakeSlice(name); }

  v1::RelayOrders OrdersOf(const std::string& name, uint64_t step = 0) {
    return cluster_.Heartbeat(name, step).reply.verdict().relay();
  }

  TestCluster cluster_;
  std::string a_, b_, c_;
  std::map<std::string, v1::Slice> slices_;
};

TEST_F(ThreeSlices, PullFromTheSliceBelowAndTheLowestRecomputes) {
  EXPECT_EQ(slices_[a_].input(), v1::INPUT_SOURCE_RECOMPUTE);
  EXPECT_EQ(slices_[b_].input(), v1::INPUT_SOURCE_RELAY);
  EXPECT_EQ(slices_[c_].input(), v1::INPUT_SOURCE_RELAY);
  EXPECT_THAT(TestCluster::LayersOf(slices_[b_]), ElementsAre(2, 3));
  const v1::RelayOrders orders = OrdersOf(c_);
  EXPECT_EQ(orders.upstream().worker_name(), b_);
  EXPECT_EQ(orders.upstream().address(), b_ + ":7");
  EXPECT_EQ(orders.upstream().boundary(), 4);
  EXPECT_FALSE(orders.has_low_step()) << "nobody is above";
  EXPECT_FALSE(OrdersOf(a_).has_upstream());
}

TEST_F(ThreeSlices, KnowAtTheirGrantOfThoseThatComeInTheNextMoment) {
  uint32_t named = 0;
  for (const auto& [name, slice] : slices_) {
    if (name != a_) named += slice.relay().has_upstream();
    EXPECT_EQ(slice.relay().has_low_step(), name != c_) << name;
    EXPECT_EQ(slice.relay().low_step(), 0) << name;
  }
  EXPECT_EQ(named, 2);
}

TEST_F(ThreeSlices, HearTheLowestStepOfThoseAbove) {
  OrdersOf(c_, 5);
  OrdersOf(b_, 9);
  EXPECT_EQ(OrdersOf(a_, 12).low_step(), 5);
  EXPECT_EQ(OrdersOf(b_, 9).low_step(), 5);
  OrdersOf(c_, 11);
  EXPECT_EQ(OrdersOf(a_, 12).low_step(), 9);
}

TEST_F(ThreeSlices, AreNotHeldUpByASilentOneNorSentToIt) {
  OrdersOf(c_, 5);
  cluster_.Advance(6'001);
  OrdersOf(a_, 9);
  EXPECT_FALSE(OrdersOf(b_, 9).has_low_step());
  OrdersOf(b_, 9);
  cluster_.Advance(6'001);
  EXPECT_FALSE(OrdersOf(c_, 5).has_upstream() && OrdersOf(c_, 5).upstream().worker_name() == b_);
}

TEST_F(ThreeSlices, OneInTheNextStageWaitsForThoseThatStillHaveToComeThere) {
  cluster_.Finish(a_, slices_[a_]);
  TakeSlice(a_);
  ASSERT_EQ(slices_[a_].stage(), v1::STAGE_HIDDEN_STATE_ALIGNMENT);
  OrdersOf(b_, 39);
  EXPECT_EQ(OrdersOf(a_, 3).low_step(), 0);
  EXPECT_EQ(OrdersOf(b_, 39).upstream().worker_name(), a_) << "which goes on serving stage 1";
}

TEST_F(ThreeSlices, OneInTheStageBeforeDoesNotWaitForThoseBeyondIt) {
  cluster_.Finish(c_, slices_[c_]);
  TakeSlice(c_);
  ASSERT_EQ(slices_[c_].stage(), v1::STAGE_HIDDEN_STATE_ALIGNMENT);
  EXPECT_FALSE(OrdersOf(b_, 3).has_low_step());
}

TEST_F(ThreeSlices, RecomputeAfterARestartOnlyWhatWasGrantedSo) {
  cluster_.Restart();
  for (const auto& name : {a_, b_, c_}) cluster_.Register(name);
  EXPECT_EQ(cluster_.Lease(b_).reply.slice().input(), v1::INPUT_SOURCE_RELAY);
  EXPECT_EQ(OrdersOf(b_).upstream().worker_name(), a_);
}

// What a grant says to the second of two workers.
v1::InputSource InputOfTheUpperSlice(RelayPolicy policy, bool workers_serve, double hop_seconds) {
  TestCluster cluster;
  cluster.options.relay = policy;
  cluster.options.hop_seconds = hop_seconds;
  cluster.workers_serve = workers_serve;
  cluster.Register("a");
  cluster.Register("b");
  cluster.SubmitPrepared(SixLayerJob(), "a");
  const v1::Slice a = cluster.TakeSlice("a"), b = cluster.TakeSlice("b");
  return a.layers(0).layer() == 0 ? b.input() : a.input();
}

TEST(ChooseInput, PullsWhereThatTakesLessThanTheTeacherBlocksBelow) {
  EXPECT_EQ(InputOfTheUpperSlice(RelayPolicy::kAuto, true, 1e-6), v1::INPUT_SOURCE_RELAY);
  EXPECT_EQ(InputOfTheUpperSlice(RelayPolicy::kAuto, true, 10), v1::INPUT_SOURCE_RECOMPUTE);
}

TEST(ChooseInput, ObeysTheOperatorAndNeedsWorkersThatServe) {
  EXPECT_EQ(InputOfTheUpperSlice(RelayPolicy::kAlways, true, 10), v1::INPUT_SOURCE_RELAY);
  EXPECT_EQ(InputOfTheUpperSlice(RelayPolicy::kNever, true, 1e-6), v1::INPUT_SOURCE_RECOMPUTE);
  EXPECT_EQ(InputOfTheUpperSlice(RelayPolicy::kAlways, false, 1e-6), v1::INPUT_SOURCE_RECOMPUTE);
}

}  // namespace
}  // namespace retort::orchestrator
