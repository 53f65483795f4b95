// The positions of q, forward and backward, beside the plain form: SmolLM2-135M at T = 512.
#include <ATen/ATen.h>

#include "model/layers/rotary.h"
#include "model/ops/rotary.h"
#include "tests/bench/bench.h"

namespace retort {
namespace {

// As model/layers/rotary.h has it where no kernel takes the tensors.
at::Tensor PlainRotary(const at::Tensor& x_BHTD, const RotaryTable& table) {
  const int64_t half = x_BHTD.size(-1) / 2;
  const at::Tensor first = x_BHTD.narrow(-1, 0, half), second = x_BHTD.narrow(-1, half, half);
  return at::cat({first * table.cos - second * table.sin, second * table.cos + first * table.sin}, -1);
}

void BenchRotary() {
  constexpr int64_t kTokens = 512, kHeads = 9, kWidth = 64;
  constexpr int kCalls = 20;  // in a row, as one takes some 0.1 ms
  const at::Tensor projected_BTM = at::randn({1, kTokens, kHeads * kWidth}).requires_grad_(),
                   dy_BHTD = at::randn({1, kHeads, kTokens, kWidth});
  const RotaryTable table = MakeRotaryTable(0, kTokens, {.width = kWidth, .theta = 1e5, .scaling = {}});
  const auto step = [&](const std::function<at::Tensor(const at::Tensor&)>& form) {
    return [&, form] {
      for (int call = 0; call < kCalls; ++call) {
        form(projected_BTM.unflatten(-1, {kHeads, kWidth}).transpose(1, 2)).backward(dy_BHTD);
        projected_BTM.mutable_grad().reset();
      }
    };
  };
  const std::vector<double> seconds =
      TimeInterleaved(9, {step([&](const at::Tensor& x) { return FusedRotary(x, table.cos, table.sin); }),
                          step([&](const at::Tensor& x) { return PlainRotary(x, table); })});
  const std::string name = "rotary forward+backward T=512 H=9 D=64";
  Report(name + ", ours", seconds[0] * 1e3 / kCalls, "ms");
  Report(name + ", plain", seconds[1] * 1e3 / kCalls, "ms");
  Report(name + ", plain / ours", seconds[1] / seconds[0], "x", AtLeast(3));
}

const bool registered = RegisterBench("rotary", &BenchRotary);

}  // namespace
}  // namespace retort
