// Gangs whose ranks may come and go.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orchestrator/state/gang.h"
#include "orchestrator/state/testing_gang.h"

namespace retort::orchestrator {
namespace {

using testing::HasSubstr;

class ElasticGangTest : public GangTest {
 protected:
  // A gang of two without the worker of its rank 0.
  void TrainAndLoseRankZero() {
    Submit(Job(2, true), {"a", "b"});
    TakeRanks({"a", "b"});
    Join(1);
    first_generation_ = Join(0).generation();
    cluster_.Leave(name_[0]);
    survivor_ = name_[1];
  }

  void ExpectTheSurvivorIsAsked() {
    told_ = cluster_.Heartbeat(survivor_).reply.verdict();
    ASSERT_EQ(told_.action(), v1::LEASE_ACTION_YIELD);
  }

  void ExpectTheSurvivorIsAskedAfterTheBackOff() {
    cluster_.Advance(2'000);
    cluster_.Replan();
    ExpectTheSurvivorIsAsked();
  }

  void TheSurvivorGivesBack() { cluster_.Release(survivor_, slice_[1].token(), {1}, told_.cause()); }

  void ExpectRankZeroIsTheSurvivorsBesideALateOne() {
    TakeRanks({"late", survivor_});
    EXPECT_EQ(name_[0], survivor_);
    EXPECT_EQ(name_[1], "late");
  }

  uint64_t first_generation_ = 0;
  std::string survivor_;
  v1::LeaseVerdict told_;
};

TEST_F(ElasticGangTest, ElasticGoesOnWithoutALostRankAndTakesItInAgain) {
  Submit(Job(3, true), {"a", "b", "c"});
  TakeRanks({"a", "b", "c"});
  Join(1);
  Join(2);
  const uint64_t first = Join(0).generation();
  LoseRank(1);
  EXPECT_EQ(Join(2, first).generation(), 0u) << "rank 0 is still a member, and comes";
  const v1::JoinGangReply shrunk = Join(0, first);
  EXPECT_GT(shrunk.generation(), first);
  EXPECT_EQ(shrunk.world_size(), 2u);
  EXPECT_EQ(Join(2, first).rank(), 1u) << "no gap";

  cluster_.Advance(2'000);
  cluster_.Replan();
  TakeRanks({name_[1]});
  ASSERT_TRUE(slice_.contains(1));
  EXPECT_EQ(cluster_.Heartbeat(name_[0]).reply.verdict().reform_generation(), 0u) << "rank 1 still loads";
  EXPECT_EQ(Join(1).generation(), 0u);
  EXPECT_EQ(cluster_.Heartbeat(name_[0]).reply.verdict().reform_generation(), shrunk.generation());
  EXPECT_EQ(cluster_.Heartbeat(name_[1]).reply.verdict().reform_generation(), 0u) << "it waits already";
  Join(0, shrunk.generation());
  const v1::JoinGangReply grown = Join(2, shrunk.generation());
  EXPECT_EQ(grown.world_size(), 3u);
  EXPECT_EQ(cluster_.Heartbeat(name_[0]).reply.verdict().reform_generation(), 0u);
}

TEST_F(ElasticGangTest, ElasticGoesOnWithoutAnyRankButRankZero) {
  Submit(Job(3, true), {"a", "b", "c"});
  TakeRanks({"a", "b", "c"});
  Join(1);
  Join(2);
  const uint64_t first = Join(0).generation();
  LoseRank(0);
  Join(1, first);
  const v1::JoinGangReply waits = Join(2, first);
  EXPECT_EQ(waits.generation(), 0u);
  EXPECT_THAT(waits.reason(), HasSubstr("waits for rank 0 (nobody holds it) of 3 ranks"));
  cluster_.Replan();
  EXPECT_THAT(Reason(), HasSubstr("waits for a worker for rank 0, which alone publishes"));
  cluster_.Advance(2'000);
  cluster_.Replan();
  TakeRanks({name_[0]});
  ASSERT_TRUE(slice_.contains(0));
  EXPECT_EQ(Join(0).world_size(), 3u);
}

TEST_F(ElasticGangTest, ElasticGoesOnWithASurvivorAsRankZero) {
  TrainAndLoseRankZero();
  Join(1, first_generation_);
  ExpectTheSurvivorIsAskedAfterTheBackOff();
  EXPECT_THAT(told_.reason(), HasSubstr("rank 0, which alone publishes, has no worker: " + survivor_));
  TheSurvivorGivesBack();
  TakeRanks({survivor_});
  ASSERT_EQ(name_[0], survivor_);
  const v1::JoinGangReply alone = Join(0);
  EXPECT_GT(alone.generation(), first_generation_);
  EXPECT_EQ(alone.world_size(), 1u);
  cluster_.Register("late");
  TakeRanks({"late"});
  EXPECT_EQ(name_[1], "late");
}

TEST_F(ElasticGangTest, RankZeroIsKeptForTheSurvivorThatWasAsked) {
  TrainAndLoseRankZero();
  ExpectTheSurvivorIsAskedAfterTheBackOff();
  cluster_.Register("late");
  cluster_.Replan();
  EXPECT_EQ(cluster_.TakeSlice("late").token(), 0u);
  TheSurvivorGivesBack();
  ExpectRankZeroIsTheSurvivorsBesideALateOne();
}

TEST_F(ElasticGangTest, RankZeroIsKeptForTheAskedSurvivorAcrossARestart) {
  TrainAndLoseRankZero();
  ExpectTheSurvivorIsAskedAfterTheBackOff();
  cluster_.Restart();
  cluster_.Replan();  // nobody is there
  cluster_.Register("late");
  EXPECT_EQ(cluster_.TakeSlice("late").token(), 0u);
  EXPECT_THAT(Reason(), HasSubstr("rank 0 is kept for the worker that has its steps"));
  cluster_.Register(survivor_);  // and gives back before it is planned with
  TheSurvivorGivesBack();
  ExpectRankZeroIsTheSurvivorsBesideALateOne();
}

TEST_F(ElasticGangTest, ASurvivorThatWasAskedIsAskedAgainAfterARestart) {
  TrainAndLoseRankZero();
  cluster_.Restart();
  cluster_.Register(survivor_);
  ExpectTheSurvivorIsAsked();
  TheSurvivorGivesBack();
  cluster_.Advance(2'000);  // the back-off of rank 0
  TakeRanks({survivor_});
  EXPECT_EQ(name_[0], survivor_);
}

TEST_F(ElasticGangTest, RankZeroIsAnothersWhereTheSurvivorDoesNotComeBackAfterARestart) {
  TrainAndLoseRankZero();
  cluster_.Restart();
  cluster_.Register("late");
  cluster_.Advance(cluster_.options.lease_ttl_ms - 1'000);
  cluster_.Heartbeat("late");
  EXPECT_EQ(cluster_.TakeSlice("late").token(), 0u);
  cluster_.Advance(2'000);
  cluster_.Sweep();
  TakeRanks({"late"});
  EXPECT_EQ(name_[0], "late");
}

TEST_F(ElasticGangTest, RankZeroIsAnothersWhereTheAskedSurvivorIsLost) {
  TrainAndLoseRankZero();
  ExpectTheSurvivorIsAskedAfterTheBackOff();
  cluster_.Register("late");
  cluster_.Replan();
  cluster_.Leave(survivor_);
  cluster_.Advance(2'000);
  cluster_.Replan();
  TakeRanks({"late"});
  EXPECT_EQ(name_[0], "late");
}

TEST_F(ElasticGangTest, ElasticTakesANewRankInAfterARestart) {
  Submit(Job(3, true), {"a", "b"});
  TakeRanks({"a", "b"});
  Join(1);
  const uint64_t before = Join(0).generation();
  cluster_.Restart();
  for (const char* name : {"a", "b", "c"}) cluster_.Register(name);
  cluster_.Replan();
  TakeRanks({"c"});
  ASSERT_TRUE(slice_.contains(2));
  EXPECT_EQ(cluster_.Heartbeat(name_[0]).reply.verdict().reform_generation(), 0u) << "rank 2 still loads";
  EXPECT_EQ(Join(2).generation(), 0u);
  const uint64_t told = cluster_.Heartbeat(name_[0]).reply.verdict().reform_generation();
  EXPECT_GE(told, before);
  EXPECT_EQ(cluster_.Heartbeat(name_[2]).reply.verdict().reform_generation(), 0u) << "it waits already";
  Join(1, before);
  const v1::JoinGangReply grown = Join(0, before);
  EXPECT_EQ(grown.world_size(), 3u);
  EXPECT_GT(grown.generation(), told) << "what was said before is not of it";
  EXPECT_EQ(cluster_.Heartbeat(name_[0]).reply.verdict().reform_generation(), 0u);
}

TEST_F(ElasticGangTest, ElasticBeginsWithTheRanksThatAreThere) {
  Submit(Job(3, true), {"a", "b"});
  TakeRanks({"a", "b"});
  ASSERT_EQ(slice_.size(), 2u);
  EXPECT_EQ(slice_[0].gang().world_size(), 3u);
  Join(1);
  EXPECT_EQ(Join(0).world_size(), 2u);
}

}  // namespace
}  // namespace retort::orchestrator
