// Causal depthwise convolution on LibTorch tensors, by kernels/conv1d (which states the equations): operators
// retort::conv1d and retort::conv1d_backward for float32 on CPUs, and Meta tensors for shapes.
// B batch, T tokens, C channels, K taps.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace retort {

// y [B, T, C] and the last K-1 rows of the inputs, [B, K-1, C], which are `initial` for what follows.
// x: any strides but for contiguous channels, so a slice of a projection's output needs no copy. weight: K
// from 2 to 8; tap K-1 multiplies the current token. `bias` and `initial` may be undefined: zeros. Gradients
// flow to all four, from both results, once (not twice). Throws c10::Error naming the argument that does not
// fit.
std::tuple<at::Tensor, at::Tensor> CausalConv1d(const at::Tensor& x_BTC, const at::Tensor& weight_CK,
                                                const at::Tensor& bias_C, const at::Tensor& initial_BKC,
                                                bool silu);

}  // namespace retort
