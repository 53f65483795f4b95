#include "model/ops/largest_magnitude.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "kernels/largest_magnitude/largest_magnitude.h"
#include "model/ops/compute_path.h"
#include "model/ops/executor.h"

namespace retort {
namespace {

double PlainLargestMagnitude(const at::Tensor& x) {
  const auto [least, most] = x.aminmax();
  const double largest = std::max(-least.item<double>(), most.item<double>());
  return std::isfinite(largest) ? largest : NAN;
}

}  // namespace

std::vector<double> LargestMagnitudes(at::TensorList tensors) {
  std::vector<double> largest;
  if (tensors.empty()) return largest;
  if (!KernelsTake(tensors[0])) {
    for (const at::Tensor& tensor : tensors) largest.push_back(PlainLargestMagnitude(tensor));
    return largest;
  }
  std::vector<at::Tensor> contiguous;  // held until the kernel is done
  std::vector<FloatArray> arrays;
  for (const at::Tensor& tensor : tensors) {
    TORCH_CHECK(tensor.scalar_type() == at::kFloat && tensor.device().is_cpu(),
                "retort::largest_magnitude: a tensor is ", tensor.scalar_type(), " on ", tensor.device(),
                "; all must be float32 on the CPU as the first is");
    contiguous.push_back(tensor.contiguous());
    arrays.push_back({contiguous.back().const_data_ptr<float>(), tensor.numel()});
  }
  std::vector<float> floats(arrays.size());
  LargestMagnitudes(arrays.data(), static_cast<int64_t>(arrays.size()), floats.data(), TorchExecutor(),
                    ActiveInstructionSet());
  largest.assign(floats.begin(), floats.end());
  return largest;
}

}  // namespace retort
