// The operator against the plain layer, and what it refuses. The kernel's own accuracy is tested in
// kernels/rotary.
#include "model/ops/rotary.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "model/layers/rotary.h"
#include "model/ops/testing_ops.h"

namespace retort {
namespace {

constexpr double kTolerance = 1e-6;  // two products and a sum, roundings of 6e-8

// Heads of a projection's output, [B, T, H*D].
at::Tensor Heads(int64_t batch, int64_t heads, int64_t tokens, int64_t width) {
  at::manual_seed(6);
  return at::randn({batch, tokens, heads * width}).unflatten(-1, {heads, width}).transpose(1, 2);
}

TEST(RotaryOp, IsThePlainLayerForAnyGradient) {
  const at::Tensor x = Heads(2, 3, 50, 16).detach().requires_grad_();
  const RotaryTable table = MakeRotaryTable(7, 50, {.width = 16, .theta = 1e4, .scaling = {}});
  const at::Tensor y = FusedRotary(x, table.cos, table.sin);
  // In float64: what the layer is given in float32 it hands to the operator.
  const at::Tensor plain_y =
      ApplyRotary(x.to(at::kDouble), {table.cos.to(at::kDouble), table.sin.to(at::kDouble)});
  ExpectClose(y, plain_y, kTolerance, "y");
  const at::Tensor expanded = at::ones({1, 1, 1, 1}).expand_as(y),
                   transposed = at::randn({2, 3, 16, 50}).transpose(2, 3), dense = at::randn(y.sizes());
  for (const at::Tensor& gradient : {expanded, transposed, dense}) {
    const auto got = torch::autograd::grad({y}, {x}, {gradient}, /*retain_graph=*/true);
    const auto plain =
        torch::autograd::grad({plain_y}, {x}, {gradient.to(at::kDouble)}, /*retain_graph=*/true);
    ExpectClose(got[0], plain[0], kTolerance, "dx");
  }
}

TEST(RotaryOp, KnowsItsShapesWithoutData) {
  const at::TensorOptions meta = at::TensorOptions().device(at::kMeta).dtype(at::kFloat);
  const at::Tensor x = at::empty({2, 3, 7, 6}, meta), angles = at::empty({7, 3}, meta);
  EXPECT_EQ(FusedRotary(x, angles, angles).sizes(), x.sizes());
}

TEST(RotaryOp, RefusesWhatItCannotTakeByName) {
  const at::Tensor x = at::zeros({2, 3, 7, 6}), angles = at::zeros({7, 3});
  ExpectRefused([&] { FusedRotary(x[0], angles, angles); },
                "retort::rotary: x is [3, 7, 6]; it must be [B, H, T, D]");
  ExpectRefused(
      [&] {
        FusedRotary(x, at::zeros({8, 3}), angles);
      },
      "retort::rotary: cos is [8, 3]; it must be [T, D/2] = [7, 3]");
  ExpectRefused(
      [&] {
        FusedRotary(at::zeros({2, 3, 7, 5}), angles, angles);
      },
      "retort::rotary: x has rows of 5; they must be even");
  ExpectRefused(
      [&] {
        FusedRotary(at::zeros({2, 3, 6, 7}).transpose(2, 3), angles, angles);
      },
      "retort::rotary: x's last dimension has stride 7; it must be contiguous");
}

}  // namespace
}  // namespace retort
