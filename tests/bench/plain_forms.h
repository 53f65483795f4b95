// The layers as everybody writes them on LibTorch, for the benchmarks to stand beside ours. They do not go
// through model/layers, which may compute by a kernel.
#pragma once

#include <ATen/ATen.h>

namespace retort {

// Causal depthwise convolution with SiLU as a sum of shifted products, which walks channel-last rows: faster
// here than the grouped at::conv1d.
inline at::Tensor PlainConvSilu(const at::Tensor& x_BTC, const at::Tensor& weight_CK,
                                const at::Tensor& bias_C) {
  const int64_t tokens = x_BTC.size(1), taps = weight_CK.size(1);
  const at::Tensor padded = at::constant_pad_nd(x_BTC, {0, 0, taps - 1, 0});
  at::Tensor y = bias_C;
  for (int64_t k = 0; k < taps; ++k) y = at::addcmul(y, padded.narrow(1, k, tokens), weight_CK.select(1, k));
  return at::silu(y);
}

inline at::Tensor PlainRotary(const at::Tensor& x_BHTD, const at::Tensor& cos, const at::Tensor& sin) {
  const auto halves = x_BHTD.chunk(2, -1);
  return at::cat({halves[0] * cos - halves[1] * sin, halves[1] * cos + halves[0] * sin}, -1);
}

inline at::Tensor PlainRmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * at::rsqrt(x.square().mean({-1}, /*keepdim=*/true) + eps) * weight;
}

// One group.
inline at::Tensor PlainGatedNorm(const at::Tensor& x, const at::Tensor& z, const at::Tensor& weight,
                                 double eps) {
  return PlainRmsNorm(x * at::silu(z), weight, eps);
}

}  // namespace retort
