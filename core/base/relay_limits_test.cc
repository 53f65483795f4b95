#include "core/base/relay_limits.h"

#include <gtest/gtest.h>

namespace retort {
namespace {

constexpr int64_t kMiB = 1 << 20;

TEST(RelayLimits, AFewStepsAheadWhereTheyAreSmall) {
  const RelayLimits limits = RelayLimitsOf(1, 9 * kMiB / 4);  // the quickstart's 4 * 256 * 576 * 4
  EXPECT_EQ(limits.lead_steps, 14);
  EXPECT_EQ(limits.prefetch, 7);
  EXPECT_EQ(limits.micro_batch_bytes, 4u * 256 * 576 * 4);
  EXPECT_EQ(limits.buffer_bytes, 30 * limits.micro_batch_bytes);
}

TEST(RelayLimits, TheFewestThatOverlapWhereStepsAreLarge) {
  const RelayLimits limits = RelayLimitsOf(8, 64 * kMiB);
  EXPECT_EQ(limits.lead_steps, 2);
  EXPECT_EQ(limits.prefetch, 1);
  EXPECT_EQ(limits.buffer_bytes, 6 * 8 * limits.micro_batch_bytes);
}

TEST(RelayLimits, NoMoreIsAskedForThanTheUpstreamMayTrainOn) {
  const RelayLimits limits = RelayLimitsOf(2, kMiB / 32);
  EXPECT_EQ(limits.lead_steps, 16);
  EXPECT_EQ(limits.prefetch, 30);
}

}  // namespace
}  // namespace retort
