// The largest magnitude in each of many arrays, in one pass: what tells whether gradients are finite, and
// whether there are any.
//     largest = max over i of |x_i|, or NaN where an element is infinite or NaN; 0 for an empty array
// Bits do not depend on the executor. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/base/executor.h"
#include "kernels/base/instruction_set.h"

namespace retort {

struct FloatArray {
  const float* data;
  int64_t count;
};

void LargestMagnitudes(const FloatArray* arrays, int64_t array_count, float* largest,
                       const Executor& executor, InstructionSet set);

}  // namespace retort
