// Causal softmax attention with its log-sum-exp, forward: what a teacher's layer shows its student. Per batch
// entry and query head, over j <= i:
//     s_ij = q_i . k_j / sqrt(D),   lse_i = log sum_j exp(s_ij),   y_i = sum_j exp(s_ij - lse_i) v_j
// Legend: B batch, H query heads, K key heads (H / K query heads in a row share one), T tokens, D head width.
// Memory: the keys once more, and 32 T floats an item. float32; the caller owns every array, and outputs must
// not overlap inputs. A row depends on tokens up to its own alone and has the same bits with more behind it;
// bits do not depend on the executor. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/base/executor.h"
#include "kernels/base/instruction_set.h"

namespace retort {

struct AttentionKernelShape {
  int64_t batch, tokens, heads, key_heads, width;
};

constexpr int64_t kAttentionWidthGranule = 16, kAttentionMaxWidth = 256;

// Of the width.
constexpr bool AttentionKernelTakes(int64_t width) {
  return width > 0 && width % kAttentionWidthGranule == 0 && width <= kAttentionMaxWidth;
}

// [B, T, heads, D] with contiguous rows of D; strides count elements.
struct AttentionRows {
  const float* data;
  int64_t batch_stride, token_stride, head_stride;
};

struct AttentionArgs {
  AttentionKernelShape shape;  // key_heads divides heads; AttentionKernelTakes(width)
  AttentionRows q, k, v;
  float* y_BTHD;   // contiguous
  float* lse_BHT;  // contiguous
};
void CausalAttention(const AttentionArgs& args, const Executor& executor, InstructionSet set);

}  // namespace retort
