// Stage 2's loss with its gradient, beside its plain form: the output of a block of SmolLM2-135M at T = 512.
#include <ATen/ATen.h>

#include "model/ops/mean_distance.h"
#include "tests/bench/bench.h"

namespace retort {
namespace {

void BenchMeanDistance() {
  constexpr int kCalls = 20;  // in a row, as one takes some 0.1 ms
  const at::Tensor s = at::randn({1, 512, 576}).requires_grad_(), t = at::randn({1, 512, 576});
  const auto step = [&](const std::function<at::Tensor()>& form) {
    return [&, form] {
      for (int call = 0; call < kCalls; ++call) {
        form().backward();
        s.mutable_grad().reset();
      }
    };
  };
  const std::vector<double> seconds = TimeInterleaved(
      9, {step([&] { return FusedMeanDistance(s, t); }),
          step([&] { return at::linalg_vector_norm(s - t, 2, at::IntArrayRef({-1})).mean(); })});
  const std::string name = "mean_distance forward+backward T=512 E=576";
  Report(name + ", ours", seconds[0] * 1e3 / kCalls, "ms");
  Report(name + ", plain", seconds[1] * 1e3 / kCalls, "ms");
  Report(name + ", plain / ours", seconds[1] / seconds[0], "x");
}

const bool registered = RegisterBench("mean_distance", &BenchMeanDistance);

}  // namespace
}  // namespace retort
