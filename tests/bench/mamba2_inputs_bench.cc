// What stands in front of the scan, forward and backward, beside its plain form and beside its two joint
// products: a layer of SmolLM2-135M's shape at T = 512 in stage 2, where the input wants no gradient.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <array>

#include "model/ops/mamba2_inputs.h"
#include "tests/bench/bench.h"
#include "tests/bench/plain_forms.h"

namespace retort {
namespace {

constexpr int64_t kTokens = 512, kWidth = 576, kState = 128, kHeads = 9, kTaps = 4;
constexpr int64_t kRows = 2 * kWidth + 2 * kState + kHeads;  // of the five projections

at::Tensor Trained(at::IntArrayRef sizes) { return (at::randn(sizes) * 0.05).requires_grad_(); }

// Below each other in memory, as a stage lays them before it trains.
std::vector<at::Tensor> JoinedProjections() {
  const at::Tensor joint = at::randn({kRows, kWidth}) * 0.05;
  std::vector<at::Tensor> parts;
  for (const at::Tensor& part : joint.split_with_sizes({kWidth, kWidth, kState, kState, kHeads})) {
    parts.push_back(part.detach().requires_grad_());
  }
  return parts;
}

std::array<at::Tensor, 6> Plain(const at::Tensor& u, const Mamba2InputWeights& w) {
  const at::Tensor dt = at::softplus(at::linear(u, w.dt_proj) + w.dt_bias);
  return {at::linear(u, w.z_proj),
          PlainConvSilu(at::linear(u, w.x_proj), w.conv_x, w.conv_x_bias),
          PlainConvSilu(at::linear(u, w.b_proj), w.conv_b, w.conv_b_bias),
          PlainConvSilu(at::linear(u, w.c_proj), w.conv_c, w.conv_c_bias),
          dt,
          -at::exp(w.a_log) * dt};
}

std::array<at::Tensor, 6> Ours(const at::Tensor& u, const Mamba2InputWeights& w) {
  const Mamba2Inputs in = FusedMamba2Inputs(u, w);
  return {in.z_BTM, in.x_BTM, in.b_BTN, in.c_BTN, in.dt_BTH, in.log_decay_BTH};
}

void BenchMamba2Inputs() {
  constexpr int kCalls = 5;  // in a row, as one takes some ms
  const std::vector<at::Tensor> parts = JoinedProjections();
  const Mamba2InputWeights weights = {parts[0],
                                      parts[1],
                                      parts[2],
                                      parts[3],
                                      parts[4],
                                      Trained({kWidth, kTaps}),
                                      Trained({kState, kTaps}),
                                      Trained({kState, kTaps}),
                                      Trained({kWidth}),
                                      Trained({kState}),
                                      Trained({kState}),
                                      Trained({kHeads}),
                                      Trained({kHeads})};
  const at::Tensor u = at::randn({1, kTokens, kWidth});
  std::vector<at::Tensor> trained = parts;
  for (const at::Tensor& tensor :
       {weights.conv_x, weights.conv_b, weights.conv_c, weights.conv_x_bias, weights.conv_b_bias,
        weights.conv_c_bias, weights.dt_bias, weights.a_log}) {
    trained.push_back(tensor);
  }
  std::vector<at::Tensor> outgoing;
  for (const at::Tensor& y : Plain(u, weights)) outgoing.push_back(at::randn(y.sizes()));
  const auto step = [&](std::array<at::Tensor, 6> (*form)(const at::Tensor&, const Mamba2InputWeights&)) {
    return [&, form] {
      for (int call = 0; call < kCalls; ++call) {
        const auto outputs = form(u, weights);
        torch::autograd::grad({outputs.begin(), outputs.end()}, trained, outgoing);
      }
    };
  };
  const at::Tensor joint = at::randn({kRows, kWidth}), rows = u.view({kTokens, kWidth});
  at::Tensor projected = at::randn({kTokens, kRows}), gradient = at::empty({kRows, kWidth});
  const std::vector<double> seconds = TimeInterleaved(9, {step(&Ours), step(&Plain), [&] {
                                                            for (int call = 0; call < kCalls; ++call) {
                                                              at::mm_out(projected, rows, joint.t());
                                                              at::mm_out(gradient, projected.t(), rows);
                                                            }
                                                          }});
  const std::string name = "mamba2_inputs forward+backward T=512 E=576 N=128";
  Report(name + ", ours", seconds[0] * 1e3 / kCalls, "ms");
  Report(name + ", plain", seconds[1] * 1e3 / kCalls, "ms");
  Report(name + ", its products alone", seconds[2] * 1e3 / kCalls, "ms");
  Report(name + ", plain / ours", seconds[1] / seconds[0], "x");
  Report(name + ", ours / its products", seconds[0] / seconds[2], "x");
}

const bool registered = RegisterBench("mamba2_inputs", &BenchMamba2Inputs);

}  // namespace
}  // namespace retort
