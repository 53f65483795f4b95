// AdamW (arXiv 1711.05101) on many tensors at once. For gradient g, at step t from 1 on:
//     m <- m + (1 - beta1) (g - m),   v <- beta2 v + (1 - beta2) g^2
//     value <- (1 - lr weight_decay) value - lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)
// Tensors are contiguous floats that the caller owns and that do not overlap. Each element depends on those
// at its place alone; bits do not depend on the executor. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/base/executor.h"
#include "kernels/base/instruction_set.h"

namespace retort {

struct AdamWTensor {
  int64_t count;
  float* value;
  const float* gradient;
  float *first_moment, *second_moment;
};

struct AdamWOptions {
  double lr, beta1, beta2, weight_decay, eps;
  int64_t step;
};

void AdamWUpdate(const AdamWTensor* tensors, int64_t tensor_count, const AdamWOptions& options,
                 const Executor& executor, InstructionSet set);

}  // namespace retort
