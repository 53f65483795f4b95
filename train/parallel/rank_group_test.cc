#include "train/parallel/rank_group.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "train/parallel/rendezvous_store.h"
#include "train/parallel/testing_ranks.h"

namespace retort {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(RankGroup, AddsUpOverTheRanks) {
  WithRanks(3, [](RankGroup& group) {
    at::Tensor tensor = at::full({5}, group.rank() + 1.0, at::kFloat);
    ASSERT_TRUE(group.Sum(tensor).ok());
    EXPECT_TRUE(at::equal(tensor, at::full({5}, 6.0, at::kFloat))) << tensor;
  });
}

TEST(RankGroup, DoesWhatTheLowestBallotSays) {
  WithRanks(2, [](RankGroup& group) {
    EXPECT_EQ(*group.Vote(Ballot::kApply), Ballot::kApply);
    EXPECT_EQ(*group.Vote(group.rank() == 1 ? Ballot::kApplyAndPart : Ballot::kApply), Ballot::kApplyAndPart);
  });
}

TEST(RankGroup, GathersEveryRanksNumbersInOrder) {
  WithRanks(2, [](RankGroup& group) {
    const auto gathered = group.Gather({group.rank(), 10 + group.rank()});
    ASSERT_TRUE(gathered.ok()) << gathered.status();
    EXPECT_THAT(*gathered, ElementsAre(ElementsAre(0, 10), ElementsAre(1, 11)));
  });
}

TEST(RankGroup, TakesTheRootsBytes) {
  WithRanks(2, [](RankGroup& group) {
    const at::Tensor a = at::full({3}, 1.0 * group.rank(), at::kFloat);
    const at::Tensor b = at::full({2}, 2.0 * group.rank(), at::kDouble);
    ASSERT_TRUE(group.Broadcast({a, b}, 1).ok());
    EXPECT_TRUE(at::equal(a, at::full({3}, 1.0, at::kFloat)));
    EXPECT_TRUE(at::equal(b, at::full({2}, 2.0, at::kDouble)));
  });
}

TEST(RankGroup, SaysThatAPeerHasGone) {
  WithRanks(2, [](RankGroup& group) {
    if (group.rank() == 1) return;
    at::Tensor tensor = at::ones({4});
    EXPECT_TRUE(absl::IsUnavailable(group.Sum(tensor)));
  });
}

TEST(RankGroup, WaitsForASilentPeerAsLongAsTheTimeout) {
  std::atomic<bool> is_over = false;
  WithRanks(
      2,
      [&](RankGroup& group) {
        if (group.rank() == 1) {
          is_over.wait(false);
          return;
        }
        at::Tensor tensor = at::ones({4});
        const auto begin = std::chrono::steady_clock::now();
        EXPECT_TRUE(absl::IsUnavailable(group.Sum(tensor)));
        const auto waited = std::chrono::steady_clock::now() - begin;
        EXPECT_GE(waited, std::chrono::milliseconds(900));
        EXPECT_LE(waited, std::chrono::seconds(3));
        is_over = true;
        is_over.notify_all();
      },
      std::chrono::seconds(1));
}

TEST(RankGroup, IsNotMadeWithoutItsPeers) {
  const auto group = RankGroup::Connect(
      {.rank = 0, .world_size = 2, .timeout = std::chrono::milliseconds(300), .address = "127.0.0.1"},
      std::make_shared<RendezvousInMemory>());
  EXPECT_TRUE(absl::IsUnavailable(group.status())) << group.status();
  EXPECT_THAT(group.status().message(),
              HasSubstr("(rank 0 is at 127.0.0.1, rank 1 at an address that it has not said yet)"));
}

TEST(RankGroup, ARankOfAShorterTimeoutWaitsAsLongAsTheOthers) {
  std::atomic<bool> is_over = false;
  const auto rendezvous = std::make_shared<RendezvousInMemory>();
  const auto connect = [&](int rank, int timeout_ms) {
    return RankGroup::Connect({.rank = rank,
                               .world_size = 2,
                               .timeout = std::chrono::milliseconds(timeout_ms),
                               .address = "127.0.0.1"},
                              rendezvous);
  };
  std::thread silent([&] {
    const auto group = connect(1, 3'000);
    ASSERT_TRUE(group.ok()) << group.status();
    is_over.wait(false);
  });
  const auto group = connect(0, 1'000);
  ASSERT_TRUE(group.ok()) << group.status();
  at::Tensor tensor = at::ones({4});
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(absl::IsUnavailable((*group)->Sum(tensor)));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(2'900));
  is_over = true;
  is_over.notify_all();
  silent.join();
}

TEST(RendezvousStore, HasWhatC10dNeeds) {
  RendezvousStore store(std::make_shared<RendezvousInMemory>(), std::chrono::milliseconds(100));
  store.set("a", "one");
  EXPECT_EQ(store.get_to_str("a"), "one");
  EXPECT_EQ(store.add("n", 2), 2);
  EXPECT_EQ(store.add("n", 3), 5);
  EXPECT_EQ(store.get_to_str("n"), "5");
  EXPECT_TRUE(store.check({"a", "n"}));
  EXPECT_FALSE(store.check({"a", "b"}));
  EXPECT_EQ(store.compareSet("a", "two", "three"), "one");
  EXPECT_EQ(store.compareSet("a", "one", "three"), "three");
  EXPECT_THROW(store.wait({"b"}), c10::DistStoreError);
  EXPECT_EQ(store.clone()->get_to_str("a"), "three");
}

}  // namespace
}  // namespace retort
