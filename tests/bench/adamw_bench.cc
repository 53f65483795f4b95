// The optimiser's update of one layer's mixer of SmolLM2-135M, beside LibTorch's fused one, and beside the
// memory: seven passes over an array of the parameters' size.
#include <ATen/ATen.h>

#include <vector>

#include "model/ops/adamw.h"
#include "tests/bench/bench.h"

namespace retort {
namespace {

struct Mixers {
  explicit Mixers(int layers) {
    for (int l = 0; l < layers; ++l) {
      for (const int64_t rows : {576, 576, 128, 128, 9, 576}) {
        for (std::vector<at::Tensor>* list : {&values, &gradients, &first, &second}) {
          list->push_back(at::rand({rows, 576}));
        }
      }
    }
  }
  std::vector<at::Tensor> values, gradients, first, second;
};

void BenchAdamW() {
  constexpr int kLayers = 30;
  const Mixers ours(kLayers), plain(kLayers);
  const AdamWOptions options = {
      .lr = 1e-4, .beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1, .eps = 1e-8, .step = 10};
  const std::vector<at::Tensor> steps(plain.values.size(), at::scalar_tensor(10, at::kFloat));
  const std::vector<double> seconds = TimeInterleaved(
      9, {[&] {
            FusedAdamW({ours.values, ours.gradients, ours.first, ours.second}, options);
          },
          [&] {
            at::_fused_adamw_(plain.values, plain.gradients, plain.first, plain.second, {}, steps, options.lr,
                              options.beta1, options.beta2, options.weight_decay, options.eps, false, false);
          }});
  double bytes = 0;
  for (const at::Tensor& value : ours.values) bytes += 7.0 * value.nbytes();
  const std::string name = "adamw, 30 mixers of SmolLM2-135M";
  Report(name + ", ours", seconds[0] * 1e3, "ms");
  Report(name + ", LibTorch's", seconds[1] * 1e3, "ms");
  Report(name + ", LibTorch's / ours", seconds[1] / seconds[0], "x");
  Report(name + ", read and written", bytes / seconds[0] * 1e-9, "GB/s");
}

const bool registered = RegisterBench("adamw", &BenchAdamW);

}  // namespace
}  // namespace retort
