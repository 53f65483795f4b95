// What simd_test.cc needs from each compiled version of the SIMD layer.
#pragma once

#include <cstdint>

#include "kernels/base/instruction_set.h"

namespace retort {

RETORT_SIMD_DECLARE(void ProbeExp(int64_t count, const float* x, float* y))
RETORT_SIMD_DECLARE(void ProbeSigmoid(int64_t count, const float* x, float* y))
// c [m, n] += a b, or a^T b with `a` stored as [k, m].
RETORT_SIMD_DECLARE(void ProbeMultiply(int64_t m, int64_t n, int64_t k, bool transpose_a, const float* a,
                                       const float* b, float* c))
RETORT_SIMD_DECLARE(void ProbeTranspose(int64_t rows, int64_t columns, const float* from, float* to))
// Keeps the first `count` of 64 floats.
RETORT_SIMD_DECLARE(void ProbeKeepFirst(int64_t count, const float* x, float* y))

}  // namespace retort
