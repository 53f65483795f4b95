// AdamW's update of many tensors; the equations and options are those of kernels/adamw/adamw.h.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/adamw/adamw.h"

namespace retort {

// In the same order; values and moments are contiguous and updated in place.
struct AdamWTensors {
  at::TensorList values, gradients, first_moments, second_moments;
};

// By the kernel where it takes the values, else by LibTorch's. No gradient; refuses float32 on the CPU of
// another shape or layout.
void FusedAdamW(const AdamWTensors& tensors, const AdamWOptions& options);

}  // namespace retort
