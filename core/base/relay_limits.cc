#include "core/base/relay_limits.h"

#include <algorithm>

namespace retort {
namespace {

// What a few steps may take where steps are small; where they are large, the fewest that overlap.
constexpr int64_t kAimBytes = int64_t{32} << 20;
constexpr int64_t kLeastLead = 2, kMostLead = 16;

}  // namespace

RelayLimits RelayLimitsOf(int64_t micro_batches, int64_t micro_batch_bytes) {
  RelayLimits limits = {};
  const int64_t step_bytes = micro_batches * micro_batch_bytes;
  limits.micro_batch_bytes = static_cast<uint64_t>(micro_batch_bytes);
  limits.lead_steps = std::clamp(kAimBytes / step_bytes, kLeastLead, kMostLead);
  // Less than the lead, or a downstream would ask for what the upstream may not train on yet.
  limits.prefetch =
      std::clamp(kAimBytes / 2 / micro_batch_bytes, int64_t{1}, (limits.lead_steps - 1) * micro_batches);
  // The end of stage 1 is still asked for while stage 2 has begun, each with its lead.
  limits.buffer_bytes = static_cast<uint64_t>(step_bytes * 2 * (limits.lead_steps + 1));
  return limits;
}

}  // namespace retort
