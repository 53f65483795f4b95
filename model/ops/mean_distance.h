// Stage 2's loss, mean over the rows of |s_r - t_r|, with its gradient by s: 1 / R of each row's direction, 0
// where the rows agree. Rows are the last dimension.
#pragma once

#include <ATen/core/Tensor.h>

namespace retort {

// A scalar. float32 on the CPU; throws c10::Error with what is wrong of an argument otherwise. Differentiable
// once, by s.
at::Tensor FusedMeanDistance(const at::Tensor& s, const at::Tensor& t);

}  // namespace retort
