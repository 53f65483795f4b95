// The SSD scan and its decode step beside einsum SSD at the best of its chunks and beside the machine's
// limits.
#include <ATen/ATen.h>

#include <algorithm>
#include <string>

#include "model/layers/ssd.h"
#include "model/ops/ssd.h"
#include "tests/bench/bench.h"
#include "tests/bench/peak.h"

namespace retort {
namespace {

constexpr int64_t kTokens = 2048, kHeads = 32, kWidth = 64, kState = 64;
constexpr int64_t kPlainChunks[] = {32, 64, 128};
// Per token and head at chunk 32, a multiply-add counted as two: Q (N + P) + 4 N P, and
// Q (3 N + 2 P) + 8 N P more for the gradients.
constexpr double kForwardFlops = 32.0 * (kState + kWidth) + 4 * kState * kWidth;
constexpr double kBackwardFlops = 32.0 * (3 * kState + 2 * kWidth) + 8 * kState * kWidth;

SsdInputs RandomInputs(bool gradients) {
  SsdInputs inputs = {at::randn({1, kTokens, kHeads, kWidth}), -at::rand({1, kTokens, kHeads}),
                      at::randn({1, kTokens, kHeads, kState}), at::randn({1, kTokens, kHeads, kState})};
  for (at::Tensor* tensor : {&inputs.x_BTHP, &inputs.log_decay_BTH, &inputs.b_BTGN, &inputs.c_BTGN}) {
    tensor->requires_grad_(gradients);
  }
  return inputs;
}

at::Tensor Fused(const SsdInputs& inputs) {
  return std::get<0>(FusedSsd(inputs.x_BTHP, inputs.log_decay_BTH, inputs.b_BTGN, inputs.c_BTGN, {}, {}, {}));
}

void ReportScan(const std::string& name, const std::vector<double>& seconds, double flops, double ratio_goal,
                bool share_goal) {
  const double ours = seconds[0], plain = *std::min_element(seconds.begin() + 1, seconds.end());
  const double rate = flops * kTokens * kHeads / ours;
  Report(name + ", ours", ours * 1e3, "ms");
  Report(name + ", einsum", plain * 1e3, "ms");
  Report(name + ", einsum / ours", plain / ours, "x", AtLeast(ratio_goal));
  Report(name + ", rate", rate * 1e-9, "GFLOP/s");
  Report(name + ", share of measured peak", 100 * rate / MeasuredPeakFlops(), "%",
         share_goal ? AtLeast(45) : BenchGoal());
}

void BenchScan() {
  const SsdInputs inputs = RandomInputs(/*gradients=*/false);
  std::vector<std::function<void()>> forward = {[&] { Fused(inputs); }};
  for (const int64_t chunk : kPlainChunks) {
    forward.push_back([&, chunk] { SsdChunked(inputs, chunk, at::Tensor()); });
  }
  const std::string shape = " T=2048 H=32 P=N=64";
  ReportScan("ssd forward" + shape, TimeInterleaved(9, forward), kForwardFlops, 7, true);

  const SsdInputs trained = RandomInputs(/*gradients=*/true);
  const at::Tensor dy = at::randn_like(trained.x_BTHP);
  const auto backward = [&](const at::Tensor& y) {
    y.backward(dy);
    for (const at::Tensor& leaf : {trained.x_BTHP, trained.log_decay_BTH, trained.b_BTGN, trained.c_BTGN}) {
      leaf.mutable_grad() = at::Tensor();
    }
  };
  std::vector<std::function<void()>> both = {[&] { backward(Fused(trained)); }};
  for (const int64_t chunk : kPlainChunks) {
    both.push_back([&, chunk] { backward(SsdChunked(trained, chunk, at::Tensor()).y_BTHP); });
  }
  ReportScan("ssd forward + backward" + shape, TimeInterleaved(9, both), kForwardFlops + kBackwardFlops, 6,
             false);
}

void BenchStep() {
  const int64_t bytes = 4 * LastLevelCacheBytes();
  const int64_t batch = bytes / (kHeads * kWidth * kState * 4) + 1;
  at::Tensor state = at::randn({batch, kHeads, kWidth, kState});
  const at::Tensor x = at::randn({batch, kHeads, kWidth}), log_decay = -at::rand({batch, kHeads});
  const at::Tensor b = at::randn({batch, kHeads, kState}), c = at::randn({batch, kHeads, kState});
  const std::vector<double> seconds =
      TimeInterleaved(7, {[&] { FusedSsdStep(x, log_decay, b, c, {}, state); }, [&] { state.mul_(0.999); }});
  const double rate = 2.0 * state.nbytes() / seconds[0], limit = 2.0 * state.nbytes() / seconds[1];
  const std::string name = "ssd step, states of " + std::to_string(state.nbytes() >> 20) + " MiB";
  Report(name + ", ours", seconds[0] * 1e3, "ms");
  Report(name + ", state read and written", rate * 1e-9, "GB/s");
  Report(name + ", share of measured bandwidth", 100 * rate / limit, "%", AtLeast(80));
}

void BenchSsd() {
  BenchScan();
  BenchStep();
}

const bool registered = RegisterBench("ssd", &BenchSsd);

}  // namespace
}  // namespace retort
