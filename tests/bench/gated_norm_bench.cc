// The gated norm, forward and backward, beside its plain forms.
#include <ATen/ATen.h>

#include "model/ops/gated_norm.h"
#include "tests/bench/bench.h"
#include "tests/bench/plain_forms.h"

namespace retort {
namespace {

// PlainGatedNorm on LibTorch's RMS norm.
at::Tensor GatedLibraryNorm(const at::Tensor& x, const at::Tensor& z, const at::Tensor& weight, double eps) {
  return at::rms_norm(x * at::silu(z), {x.size(-1)}, weight, eps);
}

void BenchGatedNorm() {
  constexpr int64_t kTokens = 2048, kChannels = 2048;
  constexpr double kEps = 1e-5;
  const at::Tensor x = at::randn({1, kTokens, kChannels}).requires_grad_(),
                   z = at::randn({1, kTokens, kChannels}).requires_grad_(),
                   weight = at::randn({kChannels}).requires_grad_(), dy = at::randn({1, kTokens, kChannels});
  const auto step = [&](const std::function<at::Tensor()>& form) {
    return [&, form] {
      form().backward(dy);
      for (const at::Tensor& tensor : {x, z, weight}) tensor.mutable_grad().reset();
    };
  };
  const std::vector<double> seconds =
      TimeInterleaved(9, {step([&] { return GatedNorm(x, z, weight, 1, kEps); }),
                          step([&] { return PlainGatedNorm(x, z, weight, kEps); }),
                          step([&] { return GatedLibraryNorm(x, z, weight, kEps); })});
  const std::string name = "gated_norm forward+backward T=2048 M=2048";
  Report(name + ", ours", seconds[0] * 1e3, "ms");
  Report(name + ", plain", seconds[1] * 1e3, "ms");
  Report(name + ", at::rms_norm", seconds[2] * 1e3, "ms");
  Report(name + ", best plain / ours", std::min(seconds[1], seconds[2]) / seconds[0], "x", AtLeast(3));
}

const bool registered = RegisterBench("gated_norm", &BenchGatedNorm);

}  // namespace
}  // namespace retort
