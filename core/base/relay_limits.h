// How far a relay runs ahead and what it may keep, from the bytes of a step: for the workers, and for who
// plans their memory. Pure arithmetic; docs/protocol.md has the numbers.
#pragma once

#include <cstdint>

namespace retort {

struct RelayLimits {
  int64_t lead_steps;          // training goes at most so far beyond the slowest slice above
  int64_t prefetch;            // micro-batches that a downstream asks for ahead of the one that it trains on
  uint64_t micro_batch_bytes;  // of one boundary
  uint64_t buffer_bytes;       // that an upstream keeps, of all steps and stages
};

// Of a step of `micro_batches`, not 0, whose boundary has `micro_batch_bytes` each.
RelayLimits RelayLimitsOf(int64_t micro_batches, int64_t micro_batch_bytes);

}  // namespace retort
