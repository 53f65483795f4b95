// How far a relay runs ahead, from the bytes of a step. Pure arithmetic; docs/protocol.md has the numbers.
#pragma once

#include <cstdint>

#include "train/stages/stage_plan.h"

namespace retort {

struct RelayLimits {
  int64_t lead_steps;          // training goes at most so far beyond the slowest slice above
  int64_t prefetch;            // micro-batches that a downstream asks for ahead of the one that it trains on
  uint64_t micro_batch_bytes;  // of one boundary
  uint64_t buffer_bytes;       // that an upstream keeps, of all steps and stages
};

RelayLimits RelayLimitsOf(const StagePlan& plan, int64_t hidden_size);

}  // namespace retort
