// Causal softmax attention with grouped key/value heads and rotary positions; where the teacher has them,
// with biases and with a norm of each head's q and k. B batch, T tokens, E hidden width, H query heads, K
// key/value heads (H / K query heads share one), D head width.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/layers/rotary.h"

namespace retort {

struct AttentionShape {
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  double norm_eps = 0;  // of q_norm and k_norm
};

struct AttentionWeights {
  at::Tensor q_proj;          // [H*D, E]
  at::Tensor k_proj, v_proj;  // [K*D, E]
  at::Tensor o_proj;          // [E, H*D]
  // Undefined where the family has none.
  at::Tensor q_bias, k_bias, v_bias, o_bias;
  at::Tensor q_norm, k_norm;  // [D], root-mean-square norms before rotary
};

// What stage 1 needs of a teacher's attention: P_ij = exp(q_i . k_j / sqrt(D) - lse_i) for j <= i.
struct AttentionTaps {
  at::Tensor q_BHTD, k_BKTD;  // after rotary
  at::Tensor lse_BHT;         // log-sum-exp of each row's scaled scores
};

// Output before the residual, [B, T, E]. `taps` may be null. What trains goes through LibTorch's flash
// attention, what does not through kernels/attention; neither keeps a T x T array.
at::Tensor Attention(const at::Tensor& x_BTE, const AttentionWeights& weights, const AttentionShape& shape,
                     const RotaryTable& rotary, AttentionTaps* taps);

// Keys and values of the tokens seen so far, [B, K, capacity, D] each, filled up to the decoder's position.
struct KvCache {
  at::Tensor k_BKSD, v_BKSD;
};

// One or more tokens at `position`, which attend to the cache and to themselves; appends them to the cache.
at::Tensor AttentionWithCache(const at::Tensor& x_BTE, const AttentionWeights& weights,
                              const AttentionShape& shape, const RotaryTable& rotary, int64_t position,
                              KvCache& cache);

// The attention matrix of the taps, [B, H, T, T]; zero above the diagonal.
at::Tensor AttentionMatrix(const AttentionTaps& taps);

}  // namespace retort
