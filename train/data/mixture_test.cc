#include "train/data/mixture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

namespace retort {
namespace {

std::string Sources(const std::vector<uint32_t>& weights, uint64_t count) {
  const Mixture mixture(weights);
  std::string sources;
  for (uint64_t n = 0; n < count; ++n) sources += static_cast<char>('a' + mixture.At(n).source);
  return sources;
}

TEST(Mixture, AlternatesByWeight) {
  EXPECT_EQ(Sources({1}, 3), "aaa");
  EXPECT_EQ(Sources({7, 7}, 4), "abab");
  EXPECT_EQ(Sources({3, 1}, 8), "aaabaaab");
  EXPECT_EQ(Sources({1, 1, 4}, 12), "ccacbcccacbc");
}

// Of every prefix, with awkward weights too.
TEST(Mixture, KeepsEveryShareWithinOneSequence) {
  const std::vector<std::vector<uint32_t>> cases = {{1, 1},
                                                    {99, 1},
                                                    {1, 1, 1, 1, 1, 1, 1},
                                                    {997, 991, 983, 1},
                                                    {1000, 1, 1, 1},
                                                    {2, 3, 5, 7, 11, 13, 17},
                                                    {5, 5, 1},
                                                    {7, 2, 1}};
  for (const std::vector<uint32_t>& weights : cases) {
    const Mixture mixture(weights);
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    std::vector<uint64_t> counts(weights.size());
    for (uint64_t n = 0; n < 7000; ++n) {
      const Mixture::Place place = mixture.At(n);
      ASSERT_EQ(place.rank, counts[place.source]) << "sequence " << n;
      ++counts[place.source];
      for (size_t source = 0; source < weights.size(); ++source) {
        const double share = static_cast<double>(n + 1) * weights[source] / total;
        ASSERT_LT(std::abs(static_cast<double>(counts[source]) - share), 1.0)
            << "source " << source << " of the first " << n + 1;
      }
    }
  }
}

TEST(Mixture, CountsWhatItGave) {
  const Mixture mixture({3, 1, 2});
  std::vector<uint64_t> counts(3);
  for (uint64_t n = 0; n < 100; ++n) {
    for (size_t source = 0; source < 3; ++source) EXPECT_EQ(mixture.Count(source, n), counts[source]);
    ++counts[mixture.At(n).source];
  }
}

TEST(Mixture, ReachesFarSequences) {
  const Mixture mixture({1, 1000});
  EXPECT_EQ(mixture.Count(0, 1001'000'000'000), 1'000'000'000u);
  EXPECT_EQ(mixture.At(1001'000'000'000).rank,
            mixture.At(0).source == 0 ? 1'000'000'000u : 1'000'000'000'000u);
}

}  // namespace
}  // namespace retort
