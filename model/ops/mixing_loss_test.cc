// The operator against the plain matrices of model/layers, and what it refuses. The kernel's own accuracy is
// tested in kernels/mixing_loss.
#include "model/ops/mixing_loss.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/layers/attention.h"
#include "model/layers/ssd.h"

namespace retort {
namespace {

struct Problem {
  MixingLossInputs inputs;
  AttentionTaps taps;
};

// A teacher whose rows sum to 1, and a student that requires gradients. Not contiguous where it may be.
Problem RandomProblem(int64_t batch, int64_t tokens, int64_t heads, int64_t key_heads, int64_t groups,
                      int64_t state_size) {
  at::manual_seed(5);
  constexpr int64_t kWidth = 32;
  Problem p;
  const at::Tensor q = at::randn({batch, tokens, heads, kWidth}),
                   k = at::randn({batch, tokens, key_heads, kWidth});
  p.taps.q_BHTD = q.transpose(1, 2);
  p.taps.k_BKTD = k.transpose(1, 2);
  const at::Tensor keys = p.taps.k_BKTD.repeat_interleave(heads / key_heads, 1);
  const at::Tensor future = at::ones({tokens, tokens}, at::kBool).triu(1);
  p.taps.lse_BHT = (at::matmul(p.taps.q_BHTD, keys.transpose(2, 3)) / std::sqrt(static_cast<double>(kWidth)))
                       .masked_fill(future, -INFINITY)
                       .logsumexp(-1);
  const at::Tensor cb = at::randn({batch, tokens, groups, 2 * state_size}) * 0.3;
  p.inputs = {q,
              k,
              p.taps.lse_BHT.transpose(1, 2),
              cb.narrow(3, 0, state_size).detach(),
              cb.narrow(3, state_size, state_size).detach(),
              -at::rand({batch, tokens, heads}) * 0.1,
              at::rand({batch, tokens, heads}),
              at::rand({heads})};
  for (at::Tensor* x :
       {&p.inputs.c_BTGN, &p.inputs.b_BTGN, &p.inputs.log_decay_BTH, &p.inputs.dt_BTH, &p.inputs.d_H}) {
    x->requires_grad_();
  }
  return p;
}

std::vector<at::Tensor> Student(const MixingLossInputs& x) {
  std::vector<at::Tensor> tensors;
  for (const at::Tensor& tensor : {x.c_BTGN, x.b_BTGN, x.log_decay_BTH, x.dt_BTH, x.d_H}) {
    if (tensor.defined()) tensors.push_back(tensor);
  }
  return tensors;
}

// With both matrices materialised, in double.
at::Tensor PlainLoss(const Problem& p) {
  const MixingLossInputs& x = p.inputs;
  const int64_t tokens = x.q_BTHQ.size(1), heads = x.q_BTHQ.size(2);
  const AttentionTaps taps = {p.taps.q_BHTD.to(at::kDouble), p.taps.k_BKTD.to(at::kDouble),
                              p.taps.lse_BHT.to(at::kDouble)};
  const at::Tensor log_decay = x.log_decay_BTH.defined()
                                   ? x.log_decay_BTH.to(at::kDouble)
                                   : at::zeros({x.q_BTHQ.size(0), tokens, heads}, at::kDouble);
  at::Tensor student = SsdMatrix(log_decay, x.b_BTGN.to(at::kDouble), x.c_BTGN.to(at::kDouble));
  if (x.dt_BTH.defined()) student = student * x.dt_BTH.to(at::kDouble).transpose(1, 2).unsqueeze(2);
  if (x.d_H.defined())
    student = student + x.d_H.to(at::kDouble).view({-1, 1, 1}) * at::eye(tokens, at::kDouble);
  return at::linalg_vector_norm(student - AttentionMatrix(taps), 2, at::IntArrayRef({-2, -1})).mean();
}

// Loss and gradients agree to fp32 rounding: elements of the gradients to 2e-5 of the largest.
void ExpectAgrees(const Problem& p) {
  const std::vector<at::Tensor> student = Student(p.inputs);
  const at::Tensor want = PlainLoss(p), got = MeanMixingDistance(p.inputs);
  EXPECT_NEAR(got.item<double>(), want.item<double>(), 1e-6 * want.item<double>());
  const auto want_gradients = torch::autograd::grad({want}, student);
  const auto got_gradients = torch::autograd::grad({got}, student);
  for (size_t i = 0; i < student.size(); ++i) {
    EXPECT_EQ(got_gradients[i].sizes(), student[i].sizes());
    const double largest = want_gradients[i].abs().max().item<double>();
    EXPECT_LT((got_gradients[i] - want_gradients[i]).abs().max().item<double>(), 2e-5 * largest)
        << "gradient " << i;
  }
}

TEST(MixingLossOp, AgreesWithMaterialisedMatrices) { ExpectAgrees(RandomProblem(2, 150, 6, 3, 2, 16)); }

TEST(MixingLossOp, AgreesWhereEachHeadIsAGroup) { ExpectAgrees(RandomProblem(2, 150, 6, 3, 6, 16)); }

TEST(MixingLossOp, AgreesWithoutDecayDtAndD) {
  for (const int64_t groups : {1, 3}) {
    Problem p = RandomProblem(1, 70, 3, 1, groups, 32);
    p.inputs.log_decay_BTH = p.inputs.dt_BTH = p.inputs.d_H = at::Tensor();
    ExpectAgrees(p);
  }
}

TEST(MixingLossOp, TakesExpandedAndUndefinedGradients) {
  for (const int64_t groups : {1, 2}) {
    const Problem p = RandomProblem(2, 20, 2, 1, groups, 16);
    const at::Tensor S = SquaredMixingDistance(p.inputs);
    const auto expanded =
        torch::autograd::grad({S}, {p.inputs.c_BTGN}, {at::ones({}).expand({2, 2})}, /*retain_graph=*/true);
    const auto whole = torch::autograd::grad({S.sum()}, {p.inputs.c_BTGN});
    EXPECT_TRUE(at::equal(expanded[0], whole[0]));
  }
}

TEST(MixingLossOp, HeadWithoutErrorHasNoGradient) {
  // One token: P = 1 = D.
  const at::Tensor width = at::zeros({1, 1, 1, 16}), d = at::ones({1}).requires_grad_();
  const at::Tensor loss = MeanMixingDistance({width, width, at::zeros({1, 1, 1}), width, width, {}, {}, d});
  EXPECT_LT(loss.item<double>(), 1e-14);
  EXPECT_EQ(torch::autograd::grad({loss}, {d})[0].item<double>(), 0.0);
}

TEST(MixingLossOp, TakesNoTokens) {
  const at::Tensor S = SquaredMixingDistance({at::zeros({2, 0, 3, 8}),
                                              at::zeros({2, 0, 3, 8}),
                                              at::zeros({2, 0, 3}),
                                              at::zeros({2, 0, 1, 16}),
                                              at::zeros({2, 0, 1, 16}),
                                              {},
                                              {},
                                              {}});
  EXPECT_TRUE(at::equal(S, at::zeros({2, 3})));
}

TEST(MixingLossOp, TellsShapesOnMeta) {
  const auto meta = [](at::IntArrayRef sizes) { return at::empty(sizes, at::kMeta); };
  const at::Tensor S = SquaredMixingDistance({meta({2, 7, 3, 8}),
                                              meta({2, 7, 3, 8}),
                                              meta({2, 7, 3}),
                                              meta({2, 7, 1, 16}),
                                              meta({2, 7, 1, 16}),
                                              meta({2, 7, 3}),
                                              {},
                                              {}});
  EXPECT_EQ(S.sizes(), at::IntArrayRef({2, 3}));

  const at::Tensor c = meta({2, 7, 3, 16}).requires_grad_();
  const at::Tensor one_walk = SquaredMixingDistance(
      {meta({2, 7, 3, 8}), meta({2, 7, 3, 8}), meta({2, 7, 3}), c, meta({2, 7, 3, 16}), {}, {}, {}});
  EXPECT_EQ(torch::autograd::grad({one_walk.sum()}, {c})[0].sizes(), c.sizes());
}

TEST(MixingLossOp, RefusesToBeDifferentiatedTwice) {
  for (const int64_t groups : {1, 2}) {
    const Problem p = RandomProblem(1, 10, 2, 1, groups, 16);
    const auto first = torch::autograd::grad({MeanMixingDistance(p.inputs)}, {p.inputs.c_BTGN}, {},
                                             /*retain_graph=*/true, /*create_graph=*/true);
    try {
      torch::autograd::grad({first[0].sum()}, {p.inputs.c_BTGN});
      ADD_FAILURE() << "differentiated twice";
    } catch (const c10::Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("retort::mixing_loss is not differentiable twice"));
    }
  }
}

struct Refusal {
  const char* message;
  std::function<void(MixingLossInputs&)> change;
};

TEST(MixingLossOp, NamesTheArgumentThatDoesNotFit) {
  const Refusal refusals[] = {
      {"q is [8, 2, 32]; it must be [B, T, H, Q]", [](auto& x) { x.q_BTHQ = x.q_BTHQ.squeeze(0); }},
      {"k has 3 heads; they must divide q's 2",
       [](auto& x) {
         x.k_BTKQ = at::zeros({1, 8, 3, 32});
       }},
      {"c has 3 groups; they must divide q's 2",
       [](auto& x) {
         x.c_BTGN = at::zeros({1, 8, 3, 16});
       }},
      {"b is [1, 8, 1, 32]; it must be [B, T, G, N] = [1, 8, 1, 16]",
       [](auto& x) {
         x.b_BTGN = at::zeros({1, 8, 1, 32});
       }},
      {"c's state size is 24; it must be a multiple of 16",
       [](auto& x) {
         x.c_BTGN = at::zeros({1, 8, 1, 24});
       }},
      {"lse is Double on cpu; it must be float32 on cpu",
       [](auto& x) { x.lse_BTH = x.lse_BTH.to(at::kDouble); }},
      {"dt is Float on meta; it must be float32 on cpu",
       [](auto& x) {
         x.dt_BTH = at::empty({1, 8, 2}, at::kMeta);
       }},
      {"k's last dimension has stride 2; it must be contiguous",
       [](auto& x) {
         x.k_BTKQ = at::zeros({1, 8, 2, 64}).slice(3, 0, 64, 2);
       }},
      {"log_decay has an element 0.5; it must be <= 0",
       [](auto& x) {
         x.log_decay_BTH = at::full({1, 8, 2}, 0.5);
       }},
      {"d is [3]; it must be [H] = [2]", [](auto& x) { x.d_H = at::zeros({3}); }},
      {"the teacher is constant",
       [](auto& x) {
         x.q_BTHQ = at::zeros({1, 8, 2, 32}).requires_grad_();
       }},
  };
  for (const Refusal& refusal : refusals) {
    Problem p = RandomProblem(1, 8, 2, 2, 1, 16);
    refusal.change(p.inputs);
    try {
      SquaredMixingDistance(p.inputs);
      ADD_FAILURE() << "accepted: " << refusal.message;
    } catch (const c10::Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(refusal.message));
    }
  }
}

}  // namespace
}  // namespace retort
