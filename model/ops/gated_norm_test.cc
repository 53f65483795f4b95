// The operator against transformers' arrays and the plain layer, and what it refuses. The kernel's own
// accuracy is tested in kernels/rms_norm.
#include "model/ops/gated_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>

#include "model/layers/norm.h"
#include "model/ops/testing_ops.h"

namespace retort {
namespace {

// A dozen roundings of 6e-8, and a sum of up to 150 squares; weights' gradients add up to 120 rows.
constexpr double kTolerance = 3e-6;
constexpr double kEps = 1e-5;

struct Inputs {
  at::Tensor x, z, weight;
  std::vector<at::Tensor> all() const { return {x, z, weight}; }
};

// z is a slice of a wider tensor, as of a projection's output.
Inputs RandomInputs(int64_t batch, int64_t tokens, int64_t channels) {
  at::manual_seed(4);
  const at::Tensor wide = at::randn({batch, tokens, channels + 9});
  return {at::randn({batch, tokens, channels}).requires_grad_(),
          wide.narrow(2, 4, channels).detach().requires_grad_(), at::randn({channels}).requires_grad_()};
}

// The plain layer, in float64: what it is given in float32 it hands to the operator.
at::Tensor Plain(const Inputs& in, int64_t groups) {
  return GatedRmsNorm(in.x.to(at::kDouble), in.z.to(at::kDouble), in.weight.to(at::kDouble), groups, kEps);
}

TEST(GatedNormOp, IsTransformers) {
  for (const int64_t groups : {1, 2}) {
    auto golden = GoldenTensors("mamba2_parts/gated_norm_groups" + std::to_string(groups) + ".safetensors");
    const at::Tensor x = golden["x"].requires_grad_(), z = golden["z"].requires_grad_(),
                     weight = golden["weight"].requires_grad_();
    const at::Tensor y = GatedNorm(x, z, weight, groups, kEps);
    ExpectClose(y, golden["y"], kTolerance, "y");
    (y * golden["r"]).sum().backward();
    ExpectClose(x.grad(), golden["grad.x"], kTolerance, "grad.x");
    ExpectClose(z.grad(), golden["grad.z"], kTolerance, "grad.z");
    ExpectClose(weight.grad(), golden["grad.weight"], kTolerance, "grad.weight");
  }
}

TEST(GatedNormOp, IsThePlainLayerForAnyGradient) {
  const Inputs in = RandomInputs(2, 50, 60);
  for (const int64_t groups : {1, 3}) {
    const at::Tensor y = GatedNorm(in.x, in.z, in.weight, groups, kEps);
    const at::Tensor plain_y = Plain(in, groups);
    ExpectClose(y, plain_y, kTolerance, "y");
    const at::Tensor expanded = at::ones({1, 1, 1}).expand_as(y),
                     transposed = at::randn({2, 60, 50}).transpose(1, 2), dense = at::randn_like(y);
    for (const at::Tensor& gradient : {expanded, transposed, dense}) {
      const auto got = torch::autograd::grad({y}, in.all(), {gradient}, /*retain_graph=*/true);
      const auto plain =
          torch::autograd::grad({plain_y}, in.all(), {gradient.to(at::kDouble)}, /*retain_graph=*/true);
      for (size_t i = 0; i < plain.size(); ++i) {
        ExpectClose(got[i], plain[i], kTolerance, "gradient " + std::to_string(i));
      }
    }
  }
}

TEST(GatedNormOp, TakesNoRowsAndOne) {
  const Inputs none = RandomInputs(2, 0, 6), one = RandomInputs(1, 1, 6);
  const at::Tensor y = GatedNorm(none.x, none.z, none.weight, 2, kEps);
  EXPECT_EQ(y.sizes(), none.x.sizes());
  y.sum().backward();
  EXPECT_TRUE(none.weight.grad().equal(at::zeros({6})));
  ExpectClose(GatedNorm(one.x.view({6}), one.z.reshape({6}), one.weight, 2, kEps), Plain(one, 2).view({6}),
              kTolerance, "y");
}

TEST(GatedNormOp, GivesTheSameBitsOnOneThreadAndTwo) {
  const Inputs in = RandomInputs(2, 200, 150);
  ExpectSameBitsOnOneThread([&] {
    const at::Tensor y = GatedNorm(in.x, in.z, in.weight, 1, kEps);
    auto all = torch::autograd::grad({y}, in.all(), {at::cos(y)});
    all.push_back(y);
    return all;
  });
}

TEST(GatedNormOp, KnowsItsShapesWithoutData) {
  const at::TensorOptions meta = at::TensorOptions().device(at::kMeta).dtype(at::kFloat);
  const at::Tensor x = at::empty({2, 7, 6}, meta);
  EXPECT_EQ(GatedNorm(x, x, at::empty({6}, meta), 2, kEps).sizes(), x.sizes());
}

TEST(GatedNormOp, RefusesWhatItCannotTakeByName) {
  const at::Tensor x = at::zeros({2, 9, 6}), weight = at::zeros({6});
  ExpectRefused(
      [&] {
        GatedNorm(x, at::zeros({2, 9, 5}), weight, 1, kEps);
      },
      "retort::gated_norm: z is [2, 9, 5]; it must be x's = [2, 9, 6]");
  ExpectRefused([&] { GatedNorm(x, x, at::zeros({5}), 1, kEps); },
                "retort::gated_norm: weight is [5]; it must be [M] = [6]");
  ExpectRefused([&] { GatedNorm(x, x, weight, 4, kEps); },
                "retort::gated_norm: groups is 4; it must divide x's 6 channels");
  ExpectRefused([&] { GatedNorm(x, x, weight, 1, 0.0); }, "retort::gated_norm: eps is 0; it must be above 0");
  ExpectRefused([&] { GatedNorm(x.to(at::kHalf), x, weight, 1, kEps); },
                "retort::gated_norm: x is Half on cpu; it must be float32 on cpu");
  ExpectRefused(
      [&] {
        GatedNorm(x, at::zeros({2, 6, 9}).transpose(1, 2), weight, 1, kEps);
      },
      "retort::gated_norm: z's last dimension has stride 9; it must be contiguous");
}

TEST(GatedNormOp, RefusesToBeDifferentiatedTwice) {
  const Inputs in = RandomInputs(1, 4, 6);
  const at::Tensor y = GatedNorm(in.x, in.z, in.weight, 1, kEps);
  const auto once = torch::autograd::grad({y.square().sum()}, {in.x}, {}, /*retain_graph=*/true,
                                          /*create_graph=*/true);
  ExpectRefused([&] { once[0].sum().backward(); }, "retort::gated_norm is not differentiable twice");
}

}  // namespace
}  // namespace retort
