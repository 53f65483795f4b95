// Of one run of elements, per instruction set.
#pragma once

#include "kernels/largest_magnitude/largest_magnitude.h"

namespace retort {

RETORT_SIMD_DECLARE(float LargestMagnitudeOf(const float* x, int64_t count))

}  // namespace retort
