// The operator against LibTorch's own pieces, and what it refuses. The kernel's own accuracy is tested in
// kernels/swiglu.
#include "model/ops/swiglu.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "model/ops/testing_ops.h"

namespace retort {
namespace {

constexpr double kTolerance = 1e-6;  // a dozen roundings of 6e-8

struct Inputs {
  at::Tensor gate, up;
  std::vector<at::Tensor> all() const { return {gate, up}; }
};

// `gate` and `up` are the halves of one tensor, as of one projection for both.
Inputs RandomInputs(int64_t batch, int64_t tokens, int64_t channels) {
  at::manual_seed(5);
  const at::Tensor both = at::randn({batch, tokens, 2 * channels});
  return {both.narrow(2, 0, channels).detach().requires_grad_(),
          both.narrow(2, channels, channels).detach().requires_grad_()};
}

TEST(SwigluOp, IsThePlainFormulaForAnyGradient) {
  const Inputs in = RandomInputs(2, 50, 60);
  const at::Tensor y = Swiglu(in.gate, in.up);
  const at::Tensor plain_y = at::silu(in.gate.to(at::kDouble)) * in.up.to(at::kDouble);
  ExpectClose(y, plain_y, kTolerance, "y");
  const at::Tensor expanded = at::ones({1, 1, 1}).expand_as(y),
                   transposed = at::randn({2, 60, 50}).transpose(1, 2), dense = at::randn_like(y);
  for (const at::Tensor& gradient : {expanded, transposed, dense}) {
    const auto got = torch::autograd::grad({y}, in.all(), {gradient}, /*retain_graph=*/true);
    const auto plain =
        torch::autograd::grad({plain_y}, in.all(), {gradient.to(at::kDouble)}, /*retain_graph=*/true);
    ExpectClose(got[0], plain[0], kTolerance, "dgate");
    ExpectClose(got[1], plain[1], kTolerance, "dup");
  }
}

TEST(SwigluOp, TakesNoElementsAndOne) {
  const Inputs none = RandomInputs(2, 0, 6);
  const at::Tensor y = Swiglu(none.gate, none.up);
  EXPECT_EQ(y.sizes(), none.gate.sizes());
  y.sum().backward();
  EXPECT_EQ(none.up.grad().sizes(), none.up.sizes());
  ExpectClose(Swiglu(at::full({}, 2.0f), at::full({}, 3.0f)), at::full({}, 5.284782), kTolerance, "y");
}

TEST(SwigluOp, GivesTheSameBitsOnOneThreadAndTwo) {
  const Inputs in = RandomInputs(2, 200, 150);
  ExpectSameBitsOnOneThread([&] {
    const at::Tensor y = Swiglu(in.gate, in.up);
    auto all = torch::autograd::grad({y}, in.all(), {at::cos(y)});
    all.push_back(y);
    return all;
  });
}

TEST(SwigluOp, KnowsItsShapesWithoutData) {
  const at::Tensor gate = at::empty({2, 7, 6}, at::TensorOptions().device(at::kMeta).dtype(at::kFloat));
  EXPECT_EQ(Swiglu(gate, gate).sizes(), gate.sizes());
}

TEST(SwigluOp, RefusesWhatItCannotTakeByName) {
  const at::Tensor gate = at::zeros({2, 9, 6});
  ExpectRefused(
      [&] {
        Swiglu(gate, at::zeros({2, 9, 5}));
      },
      "retort::swiglu: up is [2, 9, 5]; it must be gate's = [2, 9, 6]");
  ExpectRefused([&] { Swiglu(gate.to(at::kHalf), gate); },
                "retort::swiglu: gate is Half on cpu; it must be float32 on cpu");
}

TEST(SwigluOp, RefusesToBeDifferentiatedTwice) {
  const Inputs in = RandomInputs(1, 4, 6);
  const auto once = torch::autograd::grad({Swiglu(in.gate, in.up).square().sum()}, {in.gate}, {},
                                          /*retain_graph=*/true, /*create_graph=*/true);
  ExpectRefused([&] { once[0].sum().backward(); }, "retort::swiglu is not differentiable twice");
}

}  // namespace
}  // namespace retort
