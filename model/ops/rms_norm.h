// RMS norm on LibTorch tensors, by kernels/rms_norm (which states the equations): operators retort::rms_norm
// and retort::rms_norm_backward for float32 on CPUs, and Meta tensors for shapes.
#pragma once

#include <ATen/core/Tensor.h>

namespace retort {

// weight * x / sqrt(mean(x^2) + eps) over the last axis: RmsNorm of model/layers/norm.h, fused. x: [..., E]
// with contiguous channels; rows that are evenly spaced need no copy. Gradients flow to x and weight, once
// (not twice). Throws c10::Error naming the argument that does not fit.
at::Tensor FusedRmsNorm(const at::Tensor& x, const at::Tensor& weight_E, double eps);

}  // namespace retort
