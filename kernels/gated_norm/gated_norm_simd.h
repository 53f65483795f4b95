// Runs of rows of gated_norm, per instruction set.
#pragma once

#include "kernels/gated_norm/gated_norm.h"

namespace retort {

RETORT_SIMD_DECLARE(void GatedNormForwardRows(const GatedNormForwardArgs& args, int64_t begin, int64_t end))

// `dweight_M` receives these rows' part.
RETORT_SIMD_DECLARE(void GatedNormBackwardRows(const GatedNormBackwardArgs& args, int64_t begin, int64_t end,
                                               float* dweight_M))

}  // namespace retort
