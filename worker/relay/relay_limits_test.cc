#include "worker/relay/relay_limits.h"

#include <gtest/gtest.h>

namespace retort {
namespace {

StagePlan PlanOf(int64_t micro_batches, int64_t micro_batch, int64_t seq_len) {
  return {.stage = Stage::kMatrixOrientation,
          .steps = 100,
          .micro_batches = micro_batches,
          .micro_batch = micro_batch,
          .seq_len = seq_len,
          .lr = 1e-3};
}

TEST(RelayLimits, AFewStepsAheadWhereTheyAreSmall) {
  const RelayLimits limits = RelayLimitsOf(PlanOf(1, 4, 256), 576);  // the quickstart: 2.25 MiB a step
  EXPECT_EQ(limits.lead_steps, 14);
  EXPECT_EQ(limits.prefetch, 7);
  EXPECT_EQ(limits.micro_batch_bytes, 4u * 256 * 576 * 4);
  EXPECT_EQ(limits.buffer_bytes, 30 * limits.micro_batch_bytes);
}

TEST(RelayLimits, TheFewestThatOverlapWhereStepsAreLarge) {
  const RelayLimits limits = RelayLimitsOf(PlanOf(8, 4, 1024), 4096);  // 64 MiB a micro-batch
  EXPECT_EQ(limits.lead_steps, 2);
  EXPECT_EQ(limits.prefetch, 1);
  EXPECT_EQ(limits.buffer_bytes, 6 * 8 * limits.micro_batch_bytes);
}

TEST(RelayLimits, NoMoreIsAskedForThanTheUpstreamMayTrainOn) {
  const RelayLimits limits = RelayLimitsOf(PlanOf(2, 2, 64), 64);
  EXPECT_EQ(limits.lead_steps, 16);
  EXPECT_EQ(limits.prefetch, 30);
}

}  // namespace
}  // namespace retort
