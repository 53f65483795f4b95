// Rotary position embedding in the Llama layout. With i < D/2, per batch entry, head and token t:
//     y_i = x_i cos_ti - x_{i+D/2} sin_ti,   y_{i+D/2} = x_{i+D/2} cos_ti + x_i sin_ti
// or, turning back, the same with -sin: the inverse of the rotation, and its gradient.
// Legend: B batch, H heads, T tokens, D head width, even. float32; the caller owns every array. y must not
// overlap inputs. Each row of D depends on that row alone; bits do not depend on the executor. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/base/executor.h"
#include "kernels/base/instruction_set.h"

namespace retort {

struct RotaryShape {
  int64_t batch, heads, tokens, width;
};

// [B, H, T, D] with contiguous rows of D; strides count elements: heads of a projection's output need no
// copy.
struct RotaryRows {
  const float* data;
  int64_t batch_stride, head_stride, token_stride;
};

struct RotaryArgs {
  RotaryShape shape;
  RotaryRows x;
  const float *cos, *sin;  // [T, D/2], contiguous
  bool back;
  float* y_BHTD;  // contiguous
};
void Rotary(const RotaryArgs& args, const Executor& executor, InstructionSet set);

}  // namespace retort
