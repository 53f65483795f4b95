// Looking for gradients that are not finite, beside LibTorch's extremes of each tensor: the mixers of
// SmolLM2-135M, layer by layer as stage 2 looks.
#include <ATen/ATen.h>

#include "model/ops/largest_magnitude.h"
#include "tests/bench/bench.h"

namespace retort {
namespace {

void BenchLargestMagnitude() {
  constexpr int kLayers = 30;
  std::vector<std::vector<at::Tensor>> gradients(kLayers);
  double bytes = 0;
  for (std::vector<at::Tensor>& layer : gradients) {
    for (const int64_t rows : {576, 576, 128, 128, 9, 576}) layer.push_back(at::randn({rows, 576}));
    for (const int64_t size : {576 * 4, 576, 128 * 4, 128, 128 * 4, 128, 9, 9, 9, 576}) {
      layer.push_back(at::randn({size}));
    }
    for (const at::Tensor& gradient : layer) bytes += static_cast<double>(gradient.nbytes());
  }
  double largest = 0;  // keeps the calls alive
  const std::vector<double> seconds =
      TimeInterleaved(9, {[&] {
                            for (const auto& layer : gradients) largest += LargestMagnitudes(layer)[0];
                          },
                          [&] {
                            for (const auto& layer : gradients) {
                              for (const at::Tensor& gradient : layer) {
                                const auto [least, most] = at::aminmax(gradient);
                                largest += most.item<double>() - least.item<double>();
                              }
                            }
                          }});
  const std::string name = "largest_magnitude, gradients of 30 mixers of SmolLM2-135M";
  Report(name + ", ours", seconds[0] * 1e3, "ms");
  Report(name + ", plain", seconds[1] * 1e3, "ms");
  Report(name + ", plain / ours", seconds[1] / seconds[0], "x");
  Report(name + ", read", bytes / seconds[0] * 1e-9, "GB/s");
}

const bool registered = RegisterBench("largest_magnitude", &BenchLargestMagnitude);

}  // namespace
}  // namespace retort
