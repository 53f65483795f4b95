// The norm, forward and backward, beside its plain forms: the residual stream of SmolLM2-135M at T = 512.
#include <ATen/ATen.h>

#include "model/ops/rms_norm.h"
#include "tests/bench/bench.h"
#include "tests/bench/plain_forms.h"

namespace retort {
namespace {

void BenchRmsNorm() {
  constexpr int64_t kTokens = 512, kChannels = 576;
  constexpr int kCalls = 20;  // in a row, as one takes some 0.1 ms
  constexpr double kEps = 1e-5;
  const at::Tensor x = at::randn({1, kTokens, kChannels}).requires_grad_(),
                   weight = at::randn({kChannels}).requires_grad_(), dy = at::randn({1, kTokens, kChannels});
  const auto step = [&](const std::function<at::Tensor()>& form) {
    return [&, form] {
      for (int call = 0; call < kCalls; ++call) {
        form().backward(dy);
        for (const at::Tensor& tensor : {x, weight}) tensor.mutable_grad().reset();
      }
    };
  };
  const std::vector<double> seconds =
      TimeInterleaved(9, {step([&] { return FusedRmsNorm(x, weight, kEps); }),
                          step([&] { return PlainRmsNorm(x, weight, kEps); }),
                          step([&] { return at::rms_norm(x, {kChannels}, weight, kEps); })});
  const std::string name = "rms_norm forward+backward T=512 E=576";
  Report(name + ", ours", seconds[0] * 1e3 / kCalls, "ms");
  Report(name + ", plain", seconds[1] * 1e3 / kCalls, "ms");
  Report(name + ", at::rms_norm", seconds[2] * 1e3 / kCalls, "ms");
  Report(name + ", best plain / ours", std::min(seconds[1], seconds[2]) / seconds[0], "x");
}

const bool registered = RegisterBench("rms_norm", &BenchRmsNorm);

}  // namespace
}  // namespace retort
