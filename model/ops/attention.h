// Causal softmax attention on LibTorch tensors, by kernels/attention (which states the equations): operator
// retort::attention for float32 on CPUs, and Meta tensors for shapes. It has no gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace retort {

// Whether CausalAttention takes heads of this width.
bool AttentionTakes(int64_t head_dim);

// q: [B, H, T, D], k and v: [B, K, T, D] with contiguous rows and K a divisor of H: outputs [B, H, T, D],
// whose heads of a token lie side by side in memory, and the log-sum-exp of each row's scaled scores [B, H,
// T]. Throws c10::Error naming the argument that does not fit, or one that wants a gradient.
std::tuple<at::Tensor, at::Tensor> CausalAttention(const at::Tensor& q_BHTD, const at::Tensor& k_BKTD,
                                                   const at::Tensor& v_BKTD);

}  // namespace retort
