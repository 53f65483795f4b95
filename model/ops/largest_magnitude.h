// The largest magnitude in each of some tensors, NaN where an element is not finite. No gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace retort {

std::vector<double> LargestMagnitudes(at::TensorList tensors);

}  // namespace retort
