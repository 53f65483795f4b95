// Rows `begin` to `end` of the step sizes, per instruction set.
#pragma once

#include "kernels/step_sizes/step_sizes.h"

namespace retort {

// rates_H: exp(a_log).
RETORT_SIMD_DECLARE(void StepSizesForwardRows(const StepSizesForwardArgs& args, const float* rates_H,
                                              int64_t begin, int64_t end))
// Adds these rows' part to sums_2H, of dbias and da_log.
RETORT_SIMD_DECLARE(void StepSizesBackwardRows(const StepSizesBackwardArgs& args, const float* rates_H,
                                               int64_t begin, int64_t end, float* sums_2H))

}  // namespace retort
