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
// sums[4, 4] = the sums of the lanes of terms[4, 4, 16].
RETORT_SIMD_DECLARE(void ProbeSumsOfLanes(const float* terms, float* sums))
// to[i, j] = 10 rows[i] + columns[j], [4, 4].
RETORT_SIMD_DECLARE(void ProbeRepeats(const float* rows, const float* columns, float* to))

}  // namespace retort
