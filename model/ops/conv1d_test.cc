// The operator against transformers' arrays and a plain formulation, and what it refuses. The kernel's own
// accuracy is tested in kernels/conv1d.
#include "model/ops/conv1d.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>

#include "model/ops/testing_ops.h"

namespace retort {
namespace {

// Sums of 4 products beside SiLU: a few roundings of 6e-8; weights' gradients add 74 tokens.
constexpr double kTolerance = 2e-6;

struct Inputs {
  at::Tensor x, weight, bias, initial;
  std::vector<at::Tensor> all() const { return {x, weight, bias, initial}; }
};

// x is a slice of a wider tensor, as of a projection's output.
Inputs RandomInputs(int64_t batch, int64_t tokens, int64_t channels) {
  at::manual_seed(3);
  const at::Tensor wide = at::randn({batch, tokens, channels + 9});
  return {wide.narrow(2, 4, channels).detach().requires_grad_(), at::randn({channels, 4}).requires_grad_(),
          at::randn({channels}).requires_grad_(), at::randn({batch, 3, channels}).requires_grad_()};
}

std::tuple<at::Tensor, at::Tensor> Plain(const Inputs& in, bool silu) {
  const at::Tensor rows = at::cat({in.initial, in.x}, 1), channels_first = rows.transpose(1, 2);
  const at::Tensor u = at::conv1d(channels_first, in.weight.unsqueeze(1), in.bias, at::IntArrayRef({1}),
                                  at::IntArrayRef({0}), at::IntArrayRef({1}), in.weight.size(0))
                           .transpose(1, 2);
  return {silu ? at::silu(u) : u, rows.narrow(1, in.x.size(1), 3)};
}

std::tuple<at::Tensor, at::Tensor> Fused(const Inputs& in, bool silu) {
  return CausalConv1d(in.x, in.weight, in.bias, in.initial, silu);
}

TEST(Conv1dOp, IsTransformers) {
  auto golden = GoldenTensors("mamba2_parts/conv1d.safetensors");
  const at::Tensor x = golden["x"].requires_grad_(), weight = golden["weight"].requires_grad_(),
                   bias = golden["bias"].requires_grad_();
  const at::Tensor y = std::get<0>(CausalConv1d(x, weight, bias, at::Tensor(), /*silu=*/true));
  ExpectClose(y, golden["y"], kTolerance, "y");
  (y * golden["r"]).sum().backward();
  ExpectClose(x.grad(), golden["grad.x"], kTolerance, "grad.x");
  ExpectClose(weight.grad(), golden["grad.weight"], kTolerance, "grad.weight");
  ExpectClose(bias.grad(), golden["grad.bias"], kTolerance, "grad.bias");
}

TEST(Conv1dOp, SendsGradientsOfBothResultsToAllInputs) {
  for (const bool silu : {false, true}) {
    for (const int64_t tokens : {1, 2, 50}) {
      const Inputs in = RandomInputs(2, tokens, 21);
      const auto [y, final_state] = Fused(in, silu);
      const auto [plain_y, plain_final] = Plain(in, silu);
      ExpectClose(y, plain_y, kTolerance, "y");
      EXPECT_TRUE(final_state.equal(plain_final));
      const auto gradients =
          torch::autograd::grad({y, final_state}, in.all(), {at::cos(plain_y), at::cos(plain_final)});
      const auto plain =
          torch::autograd::grad({plain_y, plain_final}, in.all(), {at::cos(plain_y), at::cos(plain_final)});
      for (size_t i = 0; i < plain.size(); ++i) {
        ExpectClose(gradients[i], plain[i], kTolerance, "gradient " + std::to_string(i));
      }
    }
  }
}

TEST(Conv1dOp, TakesUndefinedExpandedAndTransposedGradients) {
  const Inputs in = RandomInputs(2, 9, 5);
  const at::Tensor transposed = at::randn({2, 5, 9}).transpose(1, 2);
  const auto check = [&](const auto& loss) {
    const auto gradients = torch::autograd::grad({loss(Fused(in, true))}, in.all());
    const auto plain = torch::autograd::grad({loss(Plain(in, true))}, in.all());
    for (size_t i = 0; i < plain.size(); ++i) ExpectClose(gradients[i], plain[i], kTolerance, "gradient");
  };
  using Outputs = std::tuple<at::Tensor, at::Tensor>;
  check([](const Outputs& out) { return std::get<0>(out).sum() + 0 * std::get<1>(out).sum(); });
  check([&](const Outputs& out) { return (std::get<0>(out) * transposed).sum(); });
  check([](const Outputs& out) { return std::get<1>(out).sum() + 0 * std::get<0>(out).sum(); });
  const auto of_final = torch::autograd::grad({std::get<1>(Fused(in, true)).sum()}, {in.x});
  EXPECT_EQ(of_final[0].sum().item<double>(), 2 * 3 * 5);
}

TEST(Conv1dOp, NeedsNoTokensNoBiasAndNoState) {
  const Inputs in = RandomInputs(2, 0, 5);
  const auto [y, final_state] = CausalConv1d(in.x, in.weight, at::Tensor(), in.initial, true);
  EXPECT_EQ(y.sizes(), at::IntArrayRef({2, 0, 5}));
  EXPECT_TRUE(final_state.equal(in.initial));
  final_state.sum().backward();
  EXPECT_TRUE(in.initial.grad().equal(at::ones({2, 3, 5})));
  const auto [none, zeros] = CausalConv1d(in.x, in.weight, at::Tensor(), at::Tensor(), true);
  EXPECT_TRUE(zeros.equal(at::zeros({2, 3, 5})));
}

TEST(Conv1dOp, GivesTheSameBitsOnOneThreadAndTwo) {
  const Inputs in = RandomInputs(2, 300, 300);
  ExpectSameBitsOnOneThread([&] {
    const at::Tensor y = std::get<0>(Fused(in, true));
    auto all = torch::autograd::grad({y}, in.all(), {at::cos(y)});
    all.push_back(y);
    return all;
  });
}

TEST(Conv1dOp, KnowsItsShapesWithoutData) {
  const at::TensorOptions meta = at::TensorOptions().device(at::kMeta).dtype(at::kFloat);
  const auto [y, final_state] =
      CausalConv1d(at::empty({2, 7, 6}, meta), at::empty({6, 3}, meta), at::Tensor(), at::Tensor(), true);
  EXPECT_EQ(y.sizes(), at::IntArrayRef({2, 7, 6}));
  EXPECT_EQ(final_state.sizes(), at::IntArrayRef({2, 2, 6}));
}

TEST(Conv1dOp, RefusesWhatItCannotTakeByName) {
  const at::Tensor x = at::zeros({2, 9, 5}), weight = at::zeros({5, 4}), none;
  ExpectRefused([&] { CausalConv1d(x[0], weight, none, none, true); },
                "retort::conv1d: x is [9, 5]; it must be [B, T, C]");
  ExpectRefused(
      [&] {
        CausalConv1d(x, at::zeros({5, 9}), none, none, true);
      },
      "retort::conv1d: weight has 9 taps; it must have 2 to 8");
  ExpectRefused(
      [&] {
        CausalConv1d(x, at::zeros({6, 4}), none, none, true);
      },
      "retort::conv1d: weight is [6, 4]; it must be [C, K] = [5, 4]");
  ExpectRefused([&] { CausalConv1d(x.to(at::kDouble), weight, none, none, true); },
                "retort::conv1d: x is Double on cpu; it must be float32 on cpu");
  ExpectRefused(
      [&] {
        CausalConv1d(at::zeros({2, 5, 9}).transpose(1, 2), weight, none, none, true);
      },
      "retort::conv1d: x's last dimension has stride 9; it must be contiguous");
  ExpectRefused([&] { CausalConv1d(x, weight, at::zeros({4}), none, true); },
                "retort::conv1d: bias is [4]; it must be [C] = [5]");
  ExpectRefused(
      [&] {
        CausalConv1d(x, weight, none, at::zeros({2, 4, 5}), true);
      },
      "retort::conv1d: initial is [2, 4, 5]; it must be [B, K-1, C] = [2, 3, 5]");
}

TEST(Conv1dOp, RefusesToBeDifferentiatedTwice) {
  const Inputs in = RandomInputs(1, 4, 5);
  const at::Tensor y = std::get<0>(Fused(in, true));
  const auto once = torch::autograd::grad({y.square().sum()}, {in.x}, {}, /*retain_graph=*/true,
                                          /*create_graph=*/true);
  ExpectRefused([&] { once[0].sum().backward(); }, "retort::conv1d is not differentiable twice");
}

}  // namespace
}  // namespace retort
