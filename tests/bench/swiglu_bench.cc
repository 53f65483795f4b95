// What stands between an MLP's projections, forward and backward, beside its plain form: SmolLM2-135M at
// T = 512.
#include <ATen/ATen.h>

#include "model/ops/swiglu.h"
#include "tests/bench/bench.h"

namespace retort {
namespace {

void BenchSwiglu() {
  constexpr int64_t kTokens = 512, kChannels = 1536;
  constexpr int kCalls = 10;  // in a row, as one takes less than 1 ms
  const at::Tensor gate = at::randn({1, kTokens, kChannels}).requires_grad_(),
                   up = at::randn({1, kTokens, kChannels}).requires_grad_(),
                   dy = at::randn({1, kTokens, kChannels});
  const auto step = [&](const std::function<at::Tensor()>& form) {
    return [&, form] {
      for (int call = 0; call < kCalls; ++call) {
        form().backward(dy);
        for (const at::Tensor& tensor : {gate, up}) tensor.mutable_grad().reset();
      }
    };
  };
  const std::vector<double> seconds =
      TimeInterleaved(9, {step([&] { return Swiglu(gate, up); }), step([&] { return at::silu(gate) * up; })});
  const std::string name = "swiglu forward+backward T=512 F=1536";
  Report(name + ", ours", seconds[0] * 1e3 / kCalls, "ms");
  Report(name + ", plain", seconds[1] * 1e3 / kCalls, "ms");
  Report(name + ", plain / ours", seconds[1] / seconds[0], "x");
}

const bool registered = RegisterBench("swiglu", &BenchSwiglu);

}  // namespace
}  // namespace retort
