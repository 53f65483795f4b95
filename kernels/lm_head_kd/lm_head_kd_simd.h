// One row of lm_head_kd, per instruction set.
#pragma once

#include "kernels/lm_head_kd/lm_head_kd.h"

namespace retort {

// `row` counts: the mask is the caller's.
RETORT_SIMD_DECLARE(void LmHeadKdRow(const LmHeadKdArgs& args, int64_t row))

}  // namespace retort
