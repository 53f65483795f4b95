// The causal convolution with SiLU, forward and backward, beside LibTorch's two plain forms: grouped
// at::conv1d, and the sum of shifted products.
#include <ATen/ATen.h>

#include <algorithm>

#include "model/ops/conv1d.h"
#include "tests/bench/bench.h"
#include "tests/bench/plain_forms.h"

namespace retort {
namespace {

at::Tensor GroupedConvolution(const at::Tensor& x_BTC, const at::Tensor& weight_CK, const at::Tensor& bias) {
  const at::Tensor y_BCT =
      at::conv1d(x_BTC.transpose(1, 2), weight_CK.unsqueeze(1), bias, at::IntArrayRef({1}),
                 at::IntArrayRef({weight_CK.size(1) - 1}), at::IntArrayRef({1}), weight_CK.size(0));
  return at::silu(y_BCT.narrow(2, 0, x_BTC.size(1)).transpose(1, 2));
}

void BenchConv1d() {
  // The x, B, C channels of a mixer with 32 heads of 64 and a state of 128.
  constexpr int64_t kTokens = 2048, kChannels = 2304, kTaps = 4;
  const at::Tensor x = at::randn({1, kTokens, kChannels}).requires_grad_(),
                   weight = at::randn({kChannels, kTaps}).requires_grad_(),
                   bias = at::randn({kChannels}).requires_grad_(), dy = at::randn({1, kTokens, kChannels});
  const auto step = [&](const auto& form) {
    return [&, form] {
      form(x, weight, bias).backward(dy);
      for (const at::Tensor& tensor : {x, weight, bias}) tensor.mutable_grad().reset();
    };
  };
  const std::vector<double> seconds =
      TimeInterleaved(9, {step([](const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
                            return std::get<0>(CausalConv1d(x, weight, bias, at::Tensor(), /*silu=*/true));
                          }),
                          step(&GroupedConvolution), step(&PlainConvSilu)});
  const std::string name = "conv1d forward+backward T=2048 C=2304 K=4";
  Report(name + ", ours", seconds[0] * 1e3, "ms");
  Report(name + ", at::conv1d", seconds[1] * 1e3, "ms");
  Report(name + ", shifted products", seconds[2] * 1e3, "ms");
  Report(name + ", best plain / ours", std::min(seconds[1], seconds[2]) / seconds[0], "x", AtLeast(5));
}

const bool registered = RegisterBench("conv1d", &BenchConv1d);

}  // namespace
}  // namespace retort
