#include "model/ops/adamw.h"

#include <ATen/ATen.h>

#include <vector>

#include "model/ops/arguments.h"
#include "model/ops/compute_path.h"
#include "model/ops/executor.h"

namespace retort {
namespace {

// LibTorch's reads gradients as if they were contiguous.
void PlainAdamW(const AdamWTensors& tensors, const std::vector<at::Tensor>& gradients,
                const AdamWOptions& options) {
  const std::vector<at::Tensor> steps(tensors.values.size(), at::scalar_tensor(options.step, at::kFloat));
  at::_fused_adamw_(tensors.values, gradients, tensors.first_moments, tensors.second_moments,
                    /*max_exp_avg_sqs=*/{}, steps, options.lr, options.beta1, options.beta2,
                    options.weight_decay, options.eps, /*amsgrad=*/false, /*maximize=*/false);
}

}  // namespace

void FusedAdamW(const AdamWTensors& tensors, const AdamWOptions& options) {
  if (tensors.values.empty()) return;
  std::vector<at::Tensor> gradients;  // contiguous ones
  for (const at::Tensor& gradient : tensors.gradients) gradients.push_back(gradient.contiguous());
  if (!KernelsTake(tensors.values[0])) return PlainAdamW(tensors, gradients, options);
  constexpr const char* kOp = "adamw";
  std::vector<AdamWTensor> pointers;
  for (size_t i = 0; i < tensors.values.size(); ++i) {
    const at::Tensor &value = tensors.values[i], &first = tensors.first_moments[i],
                     &second = tensors.second_moments[i];
    for (const auto& [name, tensor] :
         {std::pair("value", value), std::pair("gradient", tensors.gradients[i]),
          std::pair("first moment", first), std::pair("second moment", second)}) {
      CheckFloats(kOp, name, tensor, "the value's", value.sizes(), value.device());
    }
    CheckContiguous(kOp, "value", value);
    CheckContiguous(kOp, "first moment", first);
    CheckContiguous(kOp, "second moment", second);
    pointers.push_back({value.numel(), value.mutable_data_ptr<float>(), gradients[i].const_data_ptr<float>(),
                        first.mutable_data_ptr<float>(), second.mutable_data_ptr<float>()});
  }
  AdamWUpdate(pointers.data(), static_cast<int64_t>(pointers.size()), options, TorchExecutor(),
              ActiveInstructionSet());
}

}  // namespace retort
