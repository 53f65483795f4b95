// A run of elements, per instruction set.
#pragma once

#include "kernels/adamw/adamw.h"

namespace retort {

// The options as the elements meet them.
struct AdamWFactors {
  float kept_value;                               // 1 - lr weight_decay
  float gradient_share;                           // 1 - beta1
  float kept_second, second_share;                // beta2, 1 - beta2
  float step_size, inverse_root_correction, eps;  // lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t)
};

RETORT_SIMD_DECLARE(void AdamWUpdateRange(const AdamWTensor& tensor, const AdamWFactors& factors,
                                          int64_t begin, int64_t end))

}  // namespace retort
