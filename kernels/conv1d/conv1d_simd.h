// One work item of conv1d, per instruction set: kConv1dTokenBlock tokens of kConv1dChannelBlock channels.
#pragma once

#include "kernels/conv1d/conv1d.h"

namespace retort {

constexpr int64_t kConv1dTokenBlock = 128, kConv1dChannelBlock = 256;

struct Conv1dItem {
  int64_t batch;
  int64_t token_begin, token_end;
  int64_t channel_begin, channels;
};

RETORT_SIMD_DECLARE(void Conv1dForwardItem(const Conv1dForwardArgs& args, const Conv1dItem& item))

// Writes dx of the item's tokens, and of the initial rows if it begins at token 0; dfinal is left out.
// `sums`: [K + 1, C], this item's part of dweight by taps and, last, of dbias.
RETORT_SIMD_DECLARE(void Conv1dBackwardItem(const Conv1dBackwardArgs& args, const Conv1dItem& item,
                                            float* sums))

}  // namespace retort
