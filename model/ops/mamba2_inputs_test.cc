// The operator against LibTorch's own pieces, and what it refuses. The kernels' own accuracy is tested in
// kernels/conv1d and kernels/step_sizes.
#include "model/ops/mamba2_inputs.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "model/ops/testing_ops.h"

namespace retort {
namespace {

constexpr int64_t kHidden = 24, kInner = 20, kStates = 12, kHeads = 5, kTaps = 4;
constexpr double kTolerance = 3e-6;  // sums of some hundred products, each rounded to 6e-8

std::vector<at::Tensor> All(const Mamba2InputWeights& w) {
  return {w.z_proj, w.x_proj,      w.b_proj,      w.c_proj,      w.dt_proj, w.conv_x, w.conv_b,
          w.conv_c, w.conv_x_bias, w.conv_b_bias, w.conv_c_bias, w.dt_bias, w.a_log};
}

std::vector<at::Tensor> All(const Mamba2Inputs& inputs) {
  return {inputs.z_BTM, inputs.x_BTM, inputs.b_BTN, inputs.c_BTN, inputs.dt_BTH, inputs.log_decay_BTH};
}

// Projections that lie below each other in memory, or apart.
Mamba2InputWeights RandomWeights(bool joined) {
  at::manual_seed(3);
  const int64_t rows[] = {kInner, kInner, kStates, kStates, kHeads};
  const at::Tensor all = at::randn({2 * kInner + 2 * kStates + kHeads, kHidden}) * 0.3;
  std::vector<at::Tensor> parts;
  int64_t begin = 0;
  for (const int64_t count : rows) {
    const at::Tensor part = all.narrow(0, begin, count).detach();
    parts.push_back((joined ? part : part.clone()).requires_grad_());
    begin += count;
  }
  const auto random = [](at::IntArrayRef sizes) { return at::randn(sizes).requires_grad_(); };
  return {parts[0],
          parts[1],
          parts[2],
          parts[3],
          parts[4],
          random({kInner, kTaps}),
          random({kStates, kTaps}),
          random({kStates, kTaps}),
          random({kInner}),
          random({kStates}),
          random({kStates}),
          random({kHeads}),
          random({kHeads})};
}

at::Tensor PlainConv(const at::Tensor& x_BTC, const at::Tensor& weight_CK, const at::Tensor& bias_C) {
  const at::Tensor padded = at::constant_pad_nd(x_BTC, {0, 0, kTaps - 1, 0});
  at::Tensor y = bias_C;
  for (int64_t k = 0; k < kTaps; ++k) {
    y = y + padded.narrow(1, k, x_BTC.size(1)) * weight_CK.select(1, k);
  }
  return at::silu(y);
}

std::vector<at::Tensor> Plain(const at::Tensor& u, const Mamba2InputWeights& w) {
  const auto wide = [](const at::Tensor& tensor) { return tensor.to(at::kDouble); };
  const auto part = [&](const at::Tensor& projection) { return at::linear(wide(u), wide(projection)); };
  const at::Tensor dt = at::softplus(part(w.dt_proj) + wide(w.dt_bias));
  return {part(w.z_proj),
          PlainConv(part(w.x_proj), wide(w.conv_x), wide(w.conv_x_bias)),
          PlainConv(part(w.b_proj), wide(w.conv_b), wide(w.conv_b_bias)),
          PlainConv(part(w.c_proj), wide(w.conv_c), wide(w.conv_c_bias)),
          dt,
          -wide(w.a_log).exp() * dt};
}

std::vector<at::Tensor> Wanted(const at::Tensor& u, const Mamba2InputWeights& w) {
  std::vector<at::Tensor> wanted = All(w);
  wanted.push_back(u);
  return wanted;
}

TEST(Mamba2InputsOp, IsThePlainLayersForAnyGradient) {
  for (const int64_t tokens : {1, 3, 150}) {
    const Mamba2InputWeights w = RandomWeights(/*joined=*/true);
    const at::Tensor u = at::randn({2, tokens, kHidden}).requires_grad_();
    const std::vector<at::Tensor> got = All(FusedMamba2Inputs(u, w)), plain = Plain(u, w);
    std::vector<at::Tensor> gradients, wide_gradients;
    for (size_t i = 0; i < got.size(); ++i) {
      ExpectClose(got[i], plain[i], kTolerance, "output " + std::to_string(i));
      gradients.push_back(i == 2 ? at::ones({1, 1, 1}).expand_as(got[i])
                                 : at::randn_like(plain[i]).to(at::kFloat));
      if (i == 3) gradients[3] = at::randn({2, kStates, tokens}).transpose(1, 2);
      wide_gradients.push_back(gradients.back().to(at::kDouble));
    }
    const auto ours = torch::autograd::grad(got, Wanted(u, w), gradients);
    const auto theirs = torch::autograd::grad(plain, Wanted(u, w), wide_gradients);
    for (size_t i = 0; i < ours.size(); ++i) {
      ExpectClose(ours[i], theirs[i], 3 * kTolerance, "gradient " + std::to_string(i));
    }
  }
}

TEST(Mamba2InputsOp, GivesTheSameBitsWhereverTheProjectionsLie) {
  const at::Tensor u = at::randn({1, 40, kHidden}).requires_grad_();
  std::vector<std::vector<at::Tensor>> results;
  for (const bool joined : {true, false}) {
    const Mamba2InputWeights w = RandomWeights(joined);
    std::vector<at::Tensor> all = All(FusedMamba2Inputs(u, w));
    const auto gradients = torch::autograd::grad(
        all, Wanted(u, w),
        {all[0].cos(), all[1].cos(), all[2].cos(), all[3].cos(), all[4].cos(), all[5].cos()});
    all.insert(all.end(), gradients.begin(), gradients.end());
    results.push_back(all);
  }
  for (size_t i = 0; i < results[0].size(); ++i) EXPECT_TRUE(results[0][i].equal(results[1][i])) << i;
}

TEST(Mamba2InputsOp, LeavesOutOutputsAndInputsThatNobodyWants) {
  const Mamba2InputWeights w = RandomWeights(/*joined=*/true);
  const at::Tensor u = at::randn({1, 9, kHidden});
  const Mamba2Inputs got = FusedMamba2Inputs(u, w);
  got.z_BTM.sum().backward();
  EXPECT_TRUE(w.z_proj.grad().defined());
  EXPECT_TRUE(w.x_proj.grad().equal(at::zeros({kInner, kHidden})));
  EXPECT_FALSE(u.grad().defined());
}

TEST(Mamba2InputsOp, TakesNoTokens) {
  const Mamba2InputWeights w = RandomWeights(/*joined=*/false);
  const Mamba2Inputs got = FusedMamba2Inputs(at::zeros({2, 0, kHidden}), w);
  EXPECT_EQ(got.x_BTM.sizes(), (std::vector<int64_t>{2, 0, kInner}));
  got.x_BTM.sum().backward();
  EXPECT_TRUE(w.conv_x.grad().equal(at::zeros({kInner, kTaps})));
}

TEST(Mamba2InputsOp, GivesTheSameBitsOnOneThreadAndTwo) {
  // The matrix products are LibTorch's, whose bits may depend on threads: zeros keep them out of it.
  Mamba2InputWeights w = RandomWeights(/*joined=*/true);
  const at::Tensor u = at::zeros({2, 200, kHidden});
  ExpectSameBitsOnOneThread([&] {
    std::vector<at::Tensor> all = All(FusedMamba2Inputs(u, w));
    const auto gradients = torch::autograd::grad(
        all, {w.conv_x, w.conv_x_bias, w.dt_bias, w.a_log},
        {all[0].cos(), all[1].cos(), all[2].cos(), all[3].cos(), all[4].cos(), all[5].cos()});
    all.insert(all.end(), gradients.begin(), gradients.end());
    return all;
  });
}

TEST(Mamba2InputsOp, KnowsItsShapesWithoutData) {
  Mamba2InputWeights w = RandomWeights(/*joined=*/true);
  for (at::Tensor* tensor :
       {&w.z_proj, &w.x_proj, &w.b_proj, &w.c_proj, &w.dt_proj, &w.conv_x, &w.conv_b, &w.conv_c,
        &w.conv_x_bias, &w.conv_b_bias, &w.conv_c_bias, &w.dt_bias, &w.a_log}) {
    *tensor = tensor->detach().to(at::kMeta);
  }
  const Mamba2Inputs got = FusedMamba2Inputs(at::empty({2, 7, kHidden}, at::device(at::kMeta)), w);
  EXPECT_EQ(got.b_BTN.sizes(), (std::vector<int64_t>{2, 7, kStates}));
  EXPECT_EQ(got.log_decay_BTH.sizes(), (std::vector<int64_t>{2, 7, kHeads}));
}

TEST(Mamba2InputsOp, RefusesWhatItCannotTakeByName) {
  const at::Tensor u = at::zeros({2, 9, kHidden});
  const auto refused = [&](at::Tensor Mamba2InputWeights::*member, const at::Tensor& wrong,
                           const std::string& message) {
    Mamba2InputWeights w = RandomWeights(/*joined=*/false);
    w.*member = wrong;
    ExpectRefused([&] { FusedMamba2Inputs(u, w); }, message);
  };
  using W = Mamba2InputWeights;
  refused(&W::b_proj, at::zeros({kStates, 7}), "retort::mamba2_inputs: b_proj is [12, 7]; it must be");
  refused(&W::dt_proj, at::zeros({kHeads}), "retort::mamba2_inputs: dt_proj is [5]; it must be [rows, E]");
  refused(&W::conv_c, at::zeros({kStates, 3}), "retort::mamba2_inputs: conv_c is [12, 3]; it must be");
  refused(&W::conv_x, at::zeros({kInner, 9}), "K of [M, K] must be from 2 to 8");
  refused(&W::dt_bias, at::zeros({4}), "retort::mamba2_inputs: dt_bias is [4]; it must be [H] = [5]");
  refused(&W::a_log, at::zeros({kHeads}, at::kDouble), "retort::mamba2_inputs: a_log is Double on cpu");
}

TEST(Mamba2InputsOp, RefusesToBeDifferentiatedTwice) {
  const Mamba2InputWeights w = RandomWeights(/*joined=*/true);
  const at::Tensor x = FusedMamba2Inputs(at::randn({1, 4, kHidden}), w).x_BTM;
  ExpectRefused([&] { torch::autograd::grad({x.sum()}, {w.x_proj}, {}, true, /*create_graph=*/true); },
                "retort::mamba2_inputs is differentiable once");
}

}  // namespace
}  // namespace retort
