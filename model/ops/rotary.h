// Rotary positions on LibTorch tensors, by kernels/rotary (which states the equations): operator
// retort::rotary for float32 on CPUs, and Meta tensors for shapes.
#pragma once

#include <ATen/core/Tensor.h>

namespace retort {

// x: [B, H, T, D] with contiguous rows, turned by the angles whose cosines and sines are [T, D/2]:
// ApplyRotary of model/layers/rotary.h, fused. The result is contiguous. Gradients flow to x, not to the
// angles. Throws c10::Error naming the argument that does not fit.
at::Tensor FusedRotary(const at::Tensor& x_BHTD, const at::Tensor& cos, const at::Tensor& sin);

}  // namespace retort
