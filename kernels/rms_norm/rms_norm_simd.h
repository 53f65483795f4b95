// Runs of rows of rms_norm, per instruction set.
#pragma once

#include "kernels/rms_norm/rms_norm.h"

namespace retort {

RETORT_SIMD_DECLARE(void RmsNormForwardRows(const RmsNormForwardArgs& args, int64_t begin, int64_t end))

// `dweight_M` receives these rows' part.
RETORT_SIMD_DECLARE(void RmsNormBackwardRows(const RmsNormBackwardArgs& args, int64_t begin, int64_t end,
                                             float* dweight_M))

}  // namespace retort
