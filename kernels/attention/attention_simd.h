// The pieces of a call, per instruction set.
#pragma once

#include "kernels/attention/attention.h"

namespace retort {

constexpr int64_t kAttentionKeys = 64;     // of a tile
constexpr int64_t kAttentionQueries = 32;  // of an item

constexpr int64_t AttentionTiles(int64_t tokens) { return (tokens + kAttentionKeys - 1) / kAttentionKeys; }

// A row of scores for each query of an item, and its outputs.
constexpr int64_t AttentionWorkspace(const AttentionKernelShape& shape) {
  return kAttentionQueries * (AttentionTiles(shape.tokens) * kAttentionKeys + shape.width);
}

// Keys of a tile of a batch entry and key head, transposed: to[D, 64], zero beyond the last token.
RETORT_SIMD_DECLARE(void AttentionPackKeys(const AttentionArgs& args, int64_t batch, int64_t key_head,
                                           int64_t tile, float* to))

// Outputs of up to 32 tokens from `first`, a multiple of 32, on; `keys` are the key head's tiles.
RETORT_SIMD_DECLARE(void AttentionQueries(const AttentionArgs& args, int64_t batch, int64_t head,
                                          int64_t first, const float* keys, float* workspace))

}  // namespace retort
