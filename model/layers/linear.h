// A projection with or without a bias.
#pragma once

#include <ATen/ATen.h>

namespace retort {

// x weight^T + bias; an undefined bias counts as zero. x: [..., in], weight: [out, in].
inline at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return bias.defined() ? at::linear(x, weight, bias) : at::linear(x, weight);
}

}  // namespace retort
