#include "train/optim/schedule.h"

#include <gtest/gtest.h>

namespace retort {
namespace {

TEST(WsdRate, RisesOverTheFirstTenth) {
  EXPECT_DOUBLE_EQ(WsdRate(0, 100, 2.0), 0.2);
  EXPECT_DOUBLE_EQ(WsdRate(4, 100, 2.0), 1.0);
  EXPECT_DOUBLE_EQ(WsdRate(8, 100, 2.0), 1.8);
  EXPECT_DOUBLE_EQ(WsdRate(9, 100, 2.0), 2.0);
}

TEST(WsdRate, StaysAtThePeakInBetween) {
  for (int64_t step = 9; step <= 90; ++step) EXPECT_DOUBLE_EQ(WsdRate(step, 100, 2.0), 2.0) << step;
}

TEST(WsdRate, FallsOverTheLastTenthAsItRose) {
  EXPECT_DOUBLE_EQ(WsdRate(91, 100, 2.0), 1.8);
  EXPECT_DOUBLE_EQ(WsdRate(99, 100, 2.0), 0.2);
  for (int64_t step = 0; step < 50; ++step) {
    EXPECT_DOUBLE_EQ(WsdRate(step, 100, 2.0), WsdRate(99 - step, 100, 2.0)) << step;
  }
}

TEST(WsdRate, IsNeverZeroAndNeverAboveThePeak) {
  for (int64_t steps : {1, 2, 3, 9, 10, 11, 19, 20, 25, 1000}) {
    for (int64_t step = 0; step < steps; ++step) {
      EXPECT_GT(WsdRate(step, steps, 1e-4), 0.0) << step << " of " << steps;
      EXPECT_LE(WsdRate(step, steps, 1e-4), 1e-4) << step << " of " << steps;
    }
  }
}

TEST(WsdRate, GivesAStageOfOneStepThePeak) { EXPECT_DOUBLE_EQ(WsdRate(0, 1, 3e-4), 3e-4); }

}  // namespace
}  // namespace retort
