#include "core/base/backoff.h"

#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(Backoff, DoublesFromAFifthOfASecondToFiveSeconds) {
  EXPECT_EQ(RepeatWaitMs(1, /*random=*/100), 200);
  EXPECT_EQ(RepeatWaitMs(2, /*random=*/200), 400);
  EXPECT_EQ(RepeatWaitMs(3, /*random=*/400), 800);
  EXPECT_EQ(RepeatWaitMs(5, /*random=*/1'600), 3'200);
  EXPECT_EQ(RepeatWaitMs(6, /*random=*/2'500), 5'000);
  EXPECT_EQ(RepeatWaitMs(1'000'000, /*random=*/2'500), 5'000);
}

TEST(Backoff, VariesByAHalf) {
  EXPECT_EQ(RepeatWaitMs(1, 0), 100);
  EXPECT_EQ(RepeatWaitMs(1, 200), 300);
  EXPECT_EQ(RepeatWaitMs(1, 201), 100);
  EXPECT_EQ(RepeatWaitMs(9, 5'000), 7'500);
}

}  // namespace
}  // namespace retort
