// What the ops' argument checks say. Each throws c10::Error "retort::OP: ARGUMENT is ...; it must be ...".
#pragma once

#include <ATen/ATen.h>

#include <optional>

namespace retort {

// float32 of the shape `sizes`, which `letters` spells, on `device`.
inline void CheckFloats(const char* op, const char* name, const at::Tensor& tensor, const char* letters,
                        at::IntArrayRef sizes, at::Device device) {
  TORCH_CHECK(tensor.scalar_type() == at::kFloat && tensor.device() == device, "retort::", op, ": ", name,
              " is ", tensor.scalar_type(), " on ", tensor.device(), "; it must be float32 on ", device);
  TORCH_CHECK(tensor.sizes() == sizes, "retort::", op, ": ", name, " is ", tensor.sizes(), "; it must be ",
              letters, " = ", sizes);
}

inline void CheckRank(const char* op, const char* name, const at::Tensor& tensor, const char* letters,
                      int64_t rank) {
  TORCH_CHECK(tensor.dim() == rank, "retort::", op, ": ", name, " is ", tensor.sizes(), "; it must be ",
              letters);
}

inline void CheckContiguous(const char* op, const char* name, const at::Tensor& tensor) {
  TORCH_CHECK(tensor.is_contiguous(), "retort::", op, ": ", name, " has strides ", tensor.strides(),
              "; it must be contiguous");
}

inline void CheckInnermost(const char* op, const char* name, const at::Tensor& tensor) {
  TORCH_CHECK(tensor.numel() == 0 || tensor.size(-1) == 1 || tensor.stride(-1) == 1, "retort::", op, ": ",
              name, "'s last dimension has stride ", tensor.stride(-1), "; it must be contiguous");
}

// What an incoming gradient may be: undefined, expanded or transposed. The result has contiguous rows.
inline at::Tensor MaterialisedGradient(const at::Tensor& gradient, at::IntArrayRef sizes,
                                       const at::TensorOptions& options) {
  if (!gradient.defined()) return at::zeros(sizes, options);
  return gradient.stride(-1) == 1 ? gradient : gradient.contiguous();
}

inline std::optional<at::Tensor> OptionalOf(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional<at::Tensor>(tensor) : std::nullopt;
}

}  // namespace retort
