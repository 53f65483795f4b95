// SwiGLU on LibTorch tensors, by kernels/swiglu (which states the equations): operators retort::swiglu and
// retort::swiglu_backward for float32 on CPUs, and Meta tensors for shapes.
#pragma once

#include <ATen/core/Tensor.h>

namespace retort {

// SiLU(gate) * up, of one shape; arrays that are not contiguous are copied. Keeps its inputs alone for the
// gradients, which flow to both, once (not twice). Throws c10::Error naming the argument that does not fit.
at::Tensor Swiglu(const at::Tensor& gate, const at::Tensor& up);

}  // namespace retort
