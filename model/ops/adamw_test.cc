#include "model/ops/adamw.h"

#include <ATen/ATen.h>

#include "model/ops/testing_ops.h"

namespace retort {
namespace {

constexpr AdamWOptions kOptions = {
    .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1, .eps = 1e-8, .step = 3};

struct Tensors {
  std::vector<at::Tensor> values, gradients, first, second;
  AdamWTensors All() const { return {values, gradients, first, second}; }
  Tensors Wide() const {
    const auto wide = [](const std::vector<at::Tensor>& tensors) {
      std::vector<at::Tensor> doubles;
      for (const at::Tensor& tensor : tensors) doubles.push_back(tensor.to(at::kDouble, false, true));
      return doubles;
    };
    return {wide(values), wide(gradients), wide(first), wide(second)};
  }
};

// A slice of a joint tensor with the gradient of a transposed product among them.
Tensors RandomTensors() {
  at::manual_seed(1);
  return {{at::randn({40, 30}).narrow(0, 10, 20), at::randn({7})},
          {at::randn({30, 20}).t(), at::randn({7})},
          {at::randn({20, 30}), at::randn({7})},
          {at::rand({20, 30}), at::rand({7})}};
}

TEST(AdamWOp, IsLibTorchsInDoubles) {
  const Tensors ours = RandomTensors(), theirs = ours.Wide();
  FusedAdamW(ours.All(), kOptions);
  FusedAdamW(theirs.All(), kOptions);
  for (size_t i = 0; i < ours.values.size(); ++i) {
    ExpectClose(ours.values[i], theirs.values[i], 1e-6, "value " + std::to_string(i));
    ExpectClose(ours.first[i], theirs.first[i], 1e-6, "first moment " + std::to_string(i));
    ExpectClose(ours.second[i], theirs.second[i], 1e-6, "second moment " + std::to_string(i));
  }
}

TEST(AdamWOp, RefusesWhatItCannotTakeByName) {
  Tensors tensors = RandomTensors();
  tensors.gradients[1] = at::zeros({8});
  ExpectRefused([&] { FusedAdamW(tensors.All(), kOptions); },
                "retort::adamw: gradient is [8]; it must be the value's = [7]");
  tensors = RandomTensors();
  tensors.first[0] = at::zeros({30, 20}).t();
  ExpectRefused([&] { FusedAdamW(tensors.All(), kOptions); },
                "retort::adamw: first moment has strides [1, 20]; it must be contiguous");
}

}  // namespace
}  // namespace retort
