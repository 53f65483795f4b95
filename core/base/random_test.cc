#include "core/base/random.h"

#include <map>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace retort {
namespace {

std::vector<uint64_t> All(uint64_t size, uint64_t key) {
  const KeyedPermutation permutation(size, key);
  std::vector<uint64_t> all;
  for (uint64_t i = 0; i < size; ++i) all.push_back(permutation(i));
  return all;
}

TEST(MixSeed, KeepsItsValuesForever) {
  EXPECT_EQ(MixSeed(0, {}), 0xe220a8397b1dcdafu);  // splitmix64's published first output
  EXPECT_EQ(MixSeed(7, {1, 2, 3}), 16860246889822268962u);
  EXPECT_EQ(MixSeed(UINT64_MAX, {UINT64_MAX}), 5860843724407469298u);
}

TEST(MixSeed, DependsOnSeedOrderAndNumberOfIndices) {
  std::set<uint64_t> seeds = {MixSeed(1, {}),     MixSeed(1, {0}),    MixSeed(1, {0, 0}), MixSeed(1, {2}),
                              MixSeed(2, {1}),    MixSeed(1, {2, 3}), MixSeed(1, {3, 2}), MixSeed(2, {}),
                              MixSeed(1, {5, 0}), MixSeed(1, {0, 5})};
  EXPECT_EQ(seeds.size(), 10u);
}

TEST(KeyedPermutation, KeepsItsValuesForever) {
  EXPECT_EQ(All(10, 1), (std::vector<uint64_t>{1, 9, 4, 8, 7, 5, 3, 6, 2, 0}));
  EXPECT_EQ(KeyedPermutation(1'000'003, 42)(123'456), 846216u);
  EXPECT_EQ(KeyedPermutation(UINT64_MAX, 42)(123'456), 13192061183391505258u);
}

TEST(KeyedPermutation, ReachesEveryIndexOnce) {
  for (const uint64_t size : {1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 1000, 4096, 4097, 100'000}) {
    const std::vector<uint64_t> all = All(size, 99);
    const std::set<uint64_t> distinct(all.begin(), all.end());
    EXPECT_EQ(distinct.size(), size);
    EXPECT_EQ(*distinct.rbegin(), size - 1);
  }
}

TEST(KeyedPermutation, IsAnotherShuffleForAnotherKey) { EXPECT_NE(All(100, 1), All(100, 2)); }

TEST(KeyedPermutation, GivesEveryOrderOfFourAboutEquallyOften) {
  std::map<std::vector<uint64_t>, int> times;
  for (uint64_t key = 0; key < 24'000; ++key) ++times[All(4, key)];
  EXPECT_EQ(times.size(), 24u);
  for (const auto& [order, count] : times) EXPECT_NEAR(count, 1000, 160);  // five standard deviations
}

TEST(KeyedPermutation, MovesNeighboursApart) {
  const std::vector<uint64_t> all = All(100'000, 5);
  int stayed_neighbours = 0;
  for (size_t i = 1; i < all.size(); ++i) stayed_neighbours += all[i] == all[i - 1] + 1;
  EXPECT_LT(stayed_neighbours, 10);  // 1 expected of a random shuffle
}

}  // namespace
}  // namespace retort
