// Tokens `begin` to `end` of a batch entry, all heads, per instruction set.
#pragma once

#include "kernels/rotary/rotary.h"

namespace retort {

RETORT_SIMD_DECLARE(void RotaryTokens(const RotaryArgs& args, int64_t batch, int64_t begin, int64_t end))

}  // namespace retort
