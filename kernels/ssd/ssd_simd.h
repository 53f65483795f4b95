// The compiled versions of the SSD kernels and what ssd_cpu.cc must hand them. Private to kernels/ssd.
#pragma once

#include "kernels/base/instruction_set.h"
#include "kernels/ssd/ssd.h"

namespace retort {

// Tokens of a chunk: products of [chunk, chunk] grow with it, passes over the state shrink. 32 is the best of
// 16, 32 and 64 (docs/kernels.md).
constexpr int64_t kSsdChunk = 32;

constexpr int64_t PaddedTo16(int64_t size) { return (size + 15) / 16 * 16; }

// Heads of a work item: neighbours share the pages that their rows lie on. One where that would leave too few
// items to share out.
constexpr int64_t kSsdHeads = 4;
constexpr int64_t SsdHeadsPerItem(const SsdShape& shape) {
  return shape.batch * shape.heads >= 4 * kSsdHeads ? kSsdHeads : 1;
}

// Floats of workspace, 64-byte aligned, for one work item.
constexpr int64_t SsdForwardWorkspace(const SsdShape& shape) {
  const int64_t width = PaddedTo16(shape.width), state = PaddedTo16(shape.state);
  return kSsdChunk * (2 * width + 3 * state + kSsdChunk) + (kSsdHeads + 1) * width * state;
}
constexpr int64_t SsdBackwardWorkspace(const SsdShape& shape) {
  const int64_t width = PaddedTo16(shape.width), state = PaddedTo16(shape.state);
  return kSsdSegment * (width + state) + kSsdChunk * (3 * width + 3 * state + 2 * kSsdChunk) +
         (kSsdHeads + 1 + kSsdSegment / kSsdChunk) * width * state;
}

// What all heads of a group need of a chunk: b, c, b transposed and the lower blocks of c b^T, packed. Made
// once where a group has several heads.
struct SsdGroupChunk {
  const float *b_QN, *c_QN, *bt_NQ, *g_QQ;
};
constexpr int64_t SsdGroupChunkFloats(const SsdShape& shape) {
  return kSsdChunk * (3 * PaddedTo16(shape.state) + kSsdChunk);
}
constexpr int64_t SsdChunks(const SsdShape& shape) { return (shape.tokens + kSsdChunk - 1) / kSsdChunk; }
// Of chunks [B, G, chunks] that SsdPackGroupChunk filled.
constexpr SsdGroupChunk SsdGroupChunkAt(const SsdShape& shape, const float* chunks, int64_t batch,
                                        int64_t group, int64_t chunk) {
  const int64_t rows = kSsdChunk * PaddedTo16(shape.state);
  const float* const b =
      chunks + ((batch * shape.groups + group) * SsdChunks(shape) + chunk) * SsdGroupChunkFloats(shape);
  return {b, b + rows, b + 2 * rows, b + 3 * rows};
}
RETORT_SIMD_DECLARE(void SsdPackGroupChunk(const SsdShape& shape, const SsdArray<const float>& b_BTGN,
                                           const SsdArray<const float>& c_BTGN, int64_t batch, int64_t group,
                                           int64_t chunk, float* to))

// `heads` heads of one batch entry from `first_head` on, kSsdHeads at most. `group_chunks` is null where each
// head is a group.
RETORT_SIMD_DECLARE(void SsdForwardHeads(const SsdForwardArguments<float>& arguments,
                                         const float* group_chunks, int64_t batch, int64_t first_head,
                                         int64_t heads, float* workspace))

// The same backwards. dB and dC of each head alone go to [B, T, H, N], the gradient of D from each batch
// entry to [B, H].
struct SsdHeadGradients {
  SsdArray<float> db_BTHN, dc_BTHN;
  float* dd_BH;
};
RETORT_SIMD_DECLARE(void SsdBackwardHeads(const SsdBackwardArguments<float>& arguments,
                                          const float* group_chunks, int64_t batch, int64_t first_head,
                                          int64_t heads, const SsdHeadGradients& gradients, float* workspace))

// to[0 ... count) = sum over i < terms of from[i * stride ...], in rising order of i.
RETORT_SIMD_DECLARE(void SsdSumHeads(int64_t count, int64_t terms, const float* from, int64_t stride,
                                     float* to))

RETORT_SIMD_DECLARE(void SsdStepHead(const SsdStepArguments& arguments, int64_t batch, int64_t head))

}  // namespace retort
