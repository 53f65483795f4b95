// The compiled versions of the SSD kernels and what ssd_cpu.cc must hand them. Private to kernels/ssd.
#pragma once

#include "kernels/base/instruction_set.h"
#include "kernels/ssd/ssd.h"

namespace retort {

// Tokens of a chunk: products of [chunk, chunk] grow with it, passes over the state shrink. 32 is the best of
// 16, 32 and 64 (docs/kernels.md).
constexpr int64_t kSsdChunk = 32;

constexpr int64_t PaddedTo16(int64_t size) { return (size + 15) / 16 * 16; }

// Floats of workspace, 64-byte aligned, for one work item. The backward pass keeps the state entering each
// chunk (one even without tokens) and the state's gradient in both orders.
constexpr int64_t SsdForwardWorkspace(const SsdShape& shape) {
  const int64_t width = PaddedTo16(shape.width), state = PaddedTo16(shape.state);
  return kSsdChunk * (2 * width + 3 * state + kSsdChunk) + 2 * width * state;
}
constexpr int64_t SsdBackwardWorkspace(const SsdShape& shape) {
  const int64_t width = PaddedTo16(shape.width), state = PaddedTo16(shape.state);
  return kSsdChunk * (4 * width + 4 * state + 2 * kSsdChunk) + (shape.tokens / kSsdChunk + 3) * width * state;
}

// One batch entry and head.
RETORT_SIMD_DECLARE(void SsdForwardHead(const SsdForwardArguments<float>& arguments, int64_t batch,
                                        int64_t head, float* workspace))

// The same backwards. dB and dC of this head alone go to db and dc, [T, N] at row strides of their own; the
// gradient of D from this batch entry to dd.
struct SsdHeadGradients {
  float *db_TN, *dc_TN;
  int64_t db_row, dc_row;
  float* dd;
};
RETORT_SIMD_DECLARE(void SsdBackwardHead(const SsdBackwardArguments<float>& arguments, int64_t batch,
                                         int64_t head, const SsdHeadGradients& gradients, float* workspace))

// to[0 ... count) = sum over i < terms of from[i * stride ...], in rising order of i.
RETORT_SIMD_DECLARE(void SsdSumHeads(int64_t count, int64_t terms, const float* from, int64_t stride,
                                     float* to))

RETORT_SIMD_DECLARE(void SsdStepHead(const SsdStepArguments& arguments, int64_t batch, int64_t head))

}  // namespace retort
