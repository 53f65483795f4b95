// Gated RMS norm on LibTorch tensors, by kernels/rms_norm (which states the equations): operators
// retort::gated_norm and retort::gated_norm_backward for float32 on CPUs, and Meta tensors for shapes.
#pragma once

#include <ATen/core/Tensor.h>

namespace retort {

// weight * u / sqrt(mean(u^2) + eps) with u = x SiLU(z), the mean within each of `groups` equal parts of the
// last axis: GatedRmsNorm of model/layers/norm.h, fused. x, z: [..., M] with contiguous channels; rows that
// are evenly spaced (a slice of a projection's output) need no copy. Gradients flow to x, z and weight, once
// (not twice). Throws c10::Error naming the argument that does not fit.
at::Tensor GatedNorm(const at::Tensor& x, const at::Tensor& z, const at::Tensor& weight_M, int64_t groups,
                     double eps);

}  // namespace retort
