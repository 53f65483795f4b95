// Normalisations. float32 in and out; autograd passes through.
#pragma once

#include <ATen/core/Tensor.h>

namespace retort {

// weight * x / sqrt(mean(x^2) + eps) over the last axis. x: [..., E], weight: [E].
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight_E, double eps);

// weight * (x - mean) / sqrt(variance + eps) + bias over the last axis.
at::Tensor LayerNorm(const at::Tensor& x, const at::Tensor& weight_E, const at::Tensor& bias_E, double eps);

// Mamba-2's gated norm, gate first: RmsNorm(x * SiLU(z)), the mean taken within each of `groups` equal parts
// of the last axis, as mamba_ssm, vLLM, llama.cpp and transformers 5.23 do. Releases of transformers that
// take it over the whole axis agree for one group only.
at::Tensor GatedRmsNorm(const at::Tensor& x, const at::Tensor& z, const at::Tensor& weight_M, int64_t groups,
                        double eps);

}  // namespace retort
