// Elements `begin` to `end` of swiglu, per instruction set.
#pragma once

#include "kernels/swiglu/swiglu.h"

namespace retort {

RETORT_SIMD_DECLARE(void SwigluForwardRange(const SwigluForwardArgs& args, int64_t begin, int64_t end))
RETORT_SIMD_DECLARE(void SwigluBackwardRange(const SwigluBackwardArgs& args, int64_t begin, int64_t end))

}  // namespace retort
