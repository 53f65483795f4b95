// The operator against the plain layer, and what it refuses. The kernel's own accuracy is tested in
// kernels/rms_norm, the whole model's in model/lm against published arrays.
#include "model/ops/rms_norm.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "model/layers/norm.h"
#include "model/ops/testing_ops.h"

namespace retort {
namespace {

// A dozen roundings of 6e-8, and a sum of up to 150 squares; weights' gradients add up to 400 rows.
constexpr double kTolerance = 3e-6;
constexpr double kEps = 1e-5;

struct Inputs {
  at::Tensor x, weight;
  std::vector<at::Tensor> all() const { return {x, weight}; }
};

// x is a slice of a wider tensor.
Inputs RandomInputs(int64_t batch, int64_t tokens, int64_t channels) {
  at::manual_seed(4);
  const at::Tensor wide = at::randn({batch, tokens, channels + 9});
  return {wide.narrow(2, 4, channels).detach().requires_grad_(), at::randn({channels}).requires_grad_()};
}

// The plain layer, in float64: what it is given in float32 it hands to the operator.
at::Tensor Plain(const Inputs& in) { return RmsNorm(in.x.to(at::kDouble), in.weight.to(at::kDouble), kEps); }

TEST(RmsNormOp, IsThePlainLayerForAnyGradient) {
  const Inputs in = RandomInputs(2, 50, 60);
  const at::Tensor y = FusedRmsNorm(in.x, in.weight, kEps), plain_y = Plain(in);
  ExpectClose(y, plain_y, kTolerance, "y");
  const at::Tensor expanded = at::ones({1, 1, 1}).expand_as(y),
                   transposed = at::randn({2, 60, 50}).transpose(1, 2), dense = at::randn_like(y);
  for (const at::Tensor& gradient : {expanded, transposed, dense}) {
    const auto got = torch::autograd::grad({y}, in.all(), {gradient}, /*retain_graph=*/true);
    const auto plain =
        torch::autograd::grad({plain_y}, in.all(), {gradient.to(at::kDouble)}, /*retain_graph=*/true);
    ExpectClose(got[0], plain[0], kTolerance, "dx");
    ExpectClose(got[1], plain[1], kTolerance, "dweight");
  }
}

TEST(RmsNormOp, GivesTheGradientOfTheInputAloneWhereTheWeightIsFrozen) {
  const Inputs in = RandomInputs(1, 9, 20);
  const at::Tensor gradient = at::randn({1, 9, 20});
  const auto both = torch::autograd::grad({FusedRmsNorm(in.x, in.weight, kEps)}, in.all(), {gradient});
  FusedRmsNorm(in.x, in.weight.detach(), kEps).backward(gradient);
  EXPECT_TRUE(in.x.grad().equal(both[0]));
}

TEST(RmsNormOp, TakesNoRowsAndOne) {
  const Inputs none = RandomInputs(2, 0, 6), one = RandomInputs(1, 1, 6);
  const at::Tensor y = FusedRmsNorm(none.x, none.weight, kEps);
  EXPECT_EQ(y.sizes(), none.x.sizes());
  y.sum().backward();
  EXPECT_TRUE(none.weight.grad().equal(at::zeros({6})));
  ExpectClose(FusedRmsNorm(one.x.view({6}), one.weight, kEps), Plain(one).view({6}), kTolerance, "y");
}

TEST(RmsNormOp, GivesTheSameBitsOnOneThreadAndTwo) {
  const Inputs in = RandomInputs(2, 200, 150);
  ExpectSameBitsOnOneThread([&] {
    const at::Tensor y = FusedRmsNorm(in.x, in.weight, kEps);
    auto all = torch::autograd::grad({y}, in.all(), {at::cos(y)});
    all.push_back(y);
    return all;
  });
}

TEST(RmsNormOp, KnowsItsShapesWithoutData) {
  const at::TensorOptions meta = at::TensorOptions().device(at::kMeta).dtype(at::kFloat);
  const at::Tensor x = at::empty({2, 7, 6}, meta);
  EXPECT_EQ(FusedRmsNorm(x, at::empty({6}, meta), kEps).sizes(), x.sizes());
}

TEST(RmsNormOp, RefusesWhatItCannotTakeByName) {
  const at::Tensor x = at::zeros({2, 9, 6}), weight = at::zeros({6});
  ExpectRefused([&] { FusedRmsNorm(x, at::zeros({5}), kEps); },
                "retort::rms_norm: weight is [5]; it must be [E] = [6]");
  ExpectRefused([&] { FusedRmsNorm(x, weight, 0.0); }, "retort::rms_norm: eps is 0; it must be above 0");
  ExpectRefused([&] { FusedRmsNorm(x.to(at::kHalf), weight, kEps); },
                "retort::rms_norm: x is Half on cpu; it must be float32 on cpu");
  ExpectRefused(
      [&] {
        FusedRmsNorm(at::zeros({2, 6, 9}).transpose(1, 2), weight, kEps);
      },
      "retort::rms_norm: x's last dimension has stride 9; it must be contiguous");
}

TEST(RmsNormOp, RefusesToBeDifferentiatedTwice) {
  const Inputs in = RandomInputs(1, 4, 6);
  const at::Tensor y = FusedRmsNorm(in.x, in.weight, kEps);
  const auto once = torch::autograd::grad({y.square().sum()}, {in.x}, {}, /*retain_graph=*/true,
                                          /*create_graph=*/true);
  ExpectRefused([&] { once[0].sum().backward(); }, "retort::rms_norm is not differentiable twice");
}

}  // namespace
}  // namespace retort
