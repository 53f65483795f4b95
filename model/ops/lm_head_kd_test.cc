// The operator against the loss as everybody writes it, on all logits at once with autograd. The kernel's own
// accuracy is tested in kernels/lm_head_kd.
#include "model/ops/lm_head_kd.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "model/ops/testing_ops.h"

namespace retort {
namespace {

constexpr int64_t kWidth = 8, kTeacherWidth = 12;

struct Problem {
  at::Tensor hidden, head;
  LmHeadLabels teacher, tokens;
};

// Logits are sums of 8 or 12 products and err by a few roundings of their size, which enter the loss
// and, through exponentials, the gradients by as much.
constexpr double kTolerance = 1e-5;

Problem RandomProblem(int64_t tokens, int64_t vocabulary) {
  at::manual_seed(6);
  Problem made;
  made.hidden = at::randn({tokens, kWidth}).requires_grad_();
  made.head = at::randn({vocabulary, kWidth}).requires_grad_();
  made.teacher = {at::randn({tokens, kTeacherWidth}), at::randn({vocabulary, kTeacherWidth}), {}};
  made.tokens.ids_n = at::randint(vocabulary, {tokens}, at::kLong);
  return made;
}

// In float64, with gradients for `problem`'s hidden and head.
struct PlainLoss {
  double loss;
  at::Tensor grad_hidden, grad_head;
  double hidden_tolerance, head_tolerance;
};

// Gradients are GEMMs' sums over the vocabulary or the tokens: n roundings of 6e-8 of partial sums that may
// be as large as the sum of absolute values, adding up like sqrt(n).
double GradientTolerance(const at::Tensor& left, const at::Tensor& right) {
  return (kTolerance + 4 * 6e-8 * std::sqrt(left.size(1))) *
         at::mm(left.abs(), right.abs()).max().item<double>();
}

PlainLoss Plain(const Problem& problem, const LmHeadLabels& labels, const LmHeadKdOptions& options) {
  const auto doubles = [](const at::Tensor& tensor) { return tensor.detach().to(at::kDouble); };
  const at::Tensor hidden = doubles(problem.hidden).requires_grad_(),
                   head = doubles(problem.head).requires_grad_();
  const at::Tensor student_logits = at::mm(hidden, head.t());
  student_logits.retain_grad();
  const at::Tensor log_s = at::log_softmax(student_logits / options.temperature, -1);
  at::Tensor loss_n;
  if (labels.ids_n.defined()) {
    loss_n = -log_s.gather(1, labels.ids_n.unsqueeze(1)).squeeze(1);
  } else {
    const at::Tensor logits = at::mm(doubles(labels.teacher_hidden_nE), doubles(labels.teacher_head_VE).t());
    const at::Tensor log_p = at::log_softmax(logits / options.temperature, -1);
    const at::Tensor entropy = options.loss == LmHeadKdLoss::kDivergence
                                   ? (log_p.exp() * log_p).sum(-1)
                                   : at::zeros({log_p.size(0)}, at::kDouble);
    loss_n = entropy - (log_p.exp() * log_s).sum(-1);
  }
  const at::Tensor loss =
      options.mask_n.defined() ? loss_n.masked_select(options.mask_n).mean() : loss_n.mean();
  loss.backward();
  const at::Tensor& grad_logits = student_logits.grad();
  return {loss.item<double>(), hidden.grad(), head.grad(), GradientTolerance(grad_logits, head.detach()),
          GradientTolerance(grad_logits.t(), hidden.detach())};
}

void ExpectAsPlain(const Problem& problem, const LmHeadLabels& labels, const LmHeadKdOptions& options) {
  const PlainLoss plain = Plain(problem, labels, options);
  const at::Tensor loss = LmHeadKd(problem.hidden, problem.head, labels, options);
  EXPECT_NEAR(loss.item<double>(), plain.loss, kTolerance * plain.loss);
  const auto gradients = torch::autograd::grad({loss}, {problem.hidden, problem.head});
  ExpectNear(gradients[0], plain.grad_hidden, plain.hidden_tolerance, "grad_hidden");
  ExpectNear(gradients[1], plain.grad_head, plain.head_tolerance, "grad_head");
}

TEST(LmHeadKdOp, IsThePlainLossOfAllKinds) {
  const Problem problem = RandomProblem(37, 1000);
  for (const double temperature : {0.5, 1.0, 2.0}) {
    for (const bool masked : {false, true}) {
      LmHeadKdOptions options = {LmHeadKdLoss::kCrossEntropy, temperature, {}};
      if (masked) options.mask_n = at::arange(37).remainder(3).gt(0);
      SCOPED_TRACE(testing::Message() << temperature << " " << masked);
      ExpectAsPlain(problem, problem.tokens, options);
      ExpectAsPlain(problem, problem.teacher, options);
      options.loss = LmHeadKdLoss::kDivergence;
      ExpectAsPlain(problem, problem.teacher, options);
    }
  }
}

// 56 tokens count, and 64 MiB hold 32 rows of 200,000 logits on each side: two chunks.
TEST(LmHeadKdOp, IsThePlainLossOverSeveralChunks) {
  const Problem problem = RandomProblem(70, 200000);
  LmHeadKdOptions options;
  options.mask_n = at::arange(70).remainder(5).gt(0);
  ExpectAsPlain(problem, problem.teacher, options);
}

TEST(LmHeadKdOp, TakesWhateverTeacherWidthAndSlicedHiddenStates) {
  Problem problem = RandomProblem(9, 30);
  problem.hidden = at::randn({9, 2 * kWidth}).narrow(1, kWidth, kWidth).detach().requires_grad_();
  problem.teacher.teacher_hidden_nE = at::randn({kTeacherWidth, 9}).t();
  ExpectAsPlain(problem, problem.teacher, {});
}

TEST(LmHeadKdOp, AddsToTheHeadsGradient) {
  const Problem problem = RandomProblem(20, 50);
  const PlainLoss plain = Plain(problem, problem.teacher, {});
  const at::Tensor grad_head = at::ones({50, kWidth});
  const LmHeadKdGradient with =
      LmHeadKdGradients(problem.hidden, problem.head, problem.teacher, {}, grad_head);
  ExpectClose(grad_head, plain.grad_head + 1, kTolerance, "grad_head");
  ExpectClose(with.grad_hidden_nE, plain.grad_hidden, kTolerance, "grad_hidden");
  const LmHeadKdGradient without = LmHeadKdGradients(problem.hidden, problem.head, problem.teacher, {}, {});
  EXPECT_EQ(without.loss.item<double>(), with.loss.item<double>());
  EXPECT_TRUE(without.grad_hidden_nE.equal(with.grad_hidden_nE));
}

TEST(LmHeadKdOp, GivesTheSameLossWithoutGradients) {
  const Problem problem = RandomProblem(20, 50);
  const at::Tensor with = LmHeadKd(problem.hidden, problem.head, problem.teacher, {});
  const at::Tensor without = LmHeadKd(problem.hidden.detach(), problem.head.detach(), problem.teacher, {});
  EXPECT_EQ(with.item<double>(), without.item<double>());
  EXPECT_FALSE(without.requires_grad());
}

TEST(LmHeadKdOp, ScalesGradientsByThatOfTheLoss) {
  const Problem problem = RandomProblem(20, 50);
  const PlainLoss plain = Plain(problem, problem.teacher, {});
  const at::Tensor loss = LmHeadKd(problem.hidden, problem.head.detach(), problem.teacher, {});
  const auto gradients = torch::autograd::grad({3 * loss}, {problem.hidden});
  ExpectClose(gradients[0], 3 * plain.grad_hidden, kTolerance, "grad_hidden");
}

TEST(LmHeadKdOp, CountsNothingWhereNoTokenCounts) {
  const Problem none = RandomProblem(0, 50), masked = RandomProblem(4, 50);
  for (const Problem* problem : {&none, &masked}) {
    LmHeadKdOptions options;
    options.mask_n = at::zeros({problem->hidden.size(0)}, at::kBool);
    const at::Tensor loss = LmHeadKd(problem->hidden, problem->head, problem->teacher, options);
    EXPECT_EQ(loss.item<double>(), 0.0);
    const auto gradients = torch::autograd::grad({loss}, {problem->hidden, problem->head});
    EXPECT_TRUE(gradients[0].equal(at::zeros_like(problem->hidden)));
    EXPECT_TRUE(gradients[1].equal(at::zeros_like(problem->head)));
  }
}

TEST(LmHeadKdOp, IgnoresIdsOfMaskedTokens) {
  Problem problem = RandomProblem(4, 50);
  LmHeadKdOptions options;
  options.mask_n = at::arange(4).lt(3);
  const double expected = LmHeadKd(problem.hidden, problem.head, problem.tokens, options).item<double>();
  problem.tokens.ids_n[3] = -100;
  EXPECT_EQ(LmHeadKd(problem.hidden, problem.head, problem.tokens, options).item<double>(), expected);
}

TEST(LmHeadKdOp, TakesHeadsWhoseColumnsLieApart) {
  Problem problem = RandomProblem(9, 30);
  problem.head = at::randn({kWidth, 30}).t().detach().requires_grad_();
  problem.teacher.teacher_head_VE = at::randn({30, 2 * kTeacherWidth}).slice(1, 0, 2 * kTeacherWidth, 2);
  const PlainLoss plain = Plain(problem, problem.teacher, {});
  ExpectAsPlain(problem, problem.teacher, {});
  const at::Tensor grad_head = at::ones({kWidth, 30}).t();
  LmHeadKdGradients(problem.hidden, problem.head, problem.teacher, {}, grad_head);
  ExpectNear(grad_head, plain.grad_head + 1, plain.head_tolerance + 1e-7, "grad_head");
}

TEST(LmHeadKdOp, LeavesTokensOutThatTheMaskDoesNotCount) {
  Problem problem = RandomProblem(40, 300);
  LmHeadKdOptions options;
  options.mask_n = at::arange(40).remainder(3).gt(0);
  const auto gradients = [&] {
    const at::Tensor grad_head = at::zeros({300, kWidth});
    const LmHeadKdGradient got =
        LmHeadKdGradients(problem.hidden, problem.head, problem.teacher, options, grad_head);
    return std::vector<at::Tensor>{got.loss, got.grad_hidden_nE, grad_head};
  };
  const std::vector<at::Tensor> expected = gradients();
  EXPECT_EQ(expected[1][0].abs().max().item<float>(), 0.0f);
  const c10::NoGradGuard no_grad;
  problem.hidden[3].fill_(NAN);
  problem.teacher.teacher_hidden_nE[0].fill_(NAN);
  const std::vector<at::Tensor> got = gradients();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(got[i].equal(expected[i])) << i;
}

// Two chunks; sums over tokens and over the vocabulary.
TEST(LmHeadKdOp, GivesTheSameBitsOnOneThreadAndTwo) {
  const Problem problem = RandomProblem(300, 3000);
  ExpectSameBitsOnOneThread([&]() -> std::vector<at::Tensor> {
    const at::Tensor grad_head = at::zeros({3000, kWidth});
    const LmHeadKdGradient got =
        LmHeadKdGradients(problem.hidden, problem.head, problem.teacher, {}, grad_head);
    return {got.loss, got.grad_hidden_nE, grad_head};
  });
}

TEST(LmHeadKdOp, KnowsItsShapesWithoutData) {
  const auto meta = [](at::IntArrayRef sizes) {
    return at::empty(sizes, at::TensorOptions().device(at::kMeta).dtype(at::kFloat));
  };
  const LmHeadLabels labels = {meta({5, 3}), meta({50, 3}), {}};
  const LmHeadKdGradient got = LmHeadKdGradients(meta({5, 4}), meta({50, 4}), labels, {}, meta({50, 4}));
  EXPECT_EQ(got.loss.dim(), 0);
  EXPECT_EQ(got.grad_hidden_nE.sizes(), at::IntArrayRef({5, 4}));
}

TEST(LmHeadKdOp, RefusesWhatItCannotTakeByName) {
  const Problem problem = RandomProblem(4, 50);
  const at::Tensor hidden = problem.hidden.detach(), head = problem.head.detach();
  const auto refused = [&](const LmHeadLabels& labels, const LmHeadKdOptions& options,
                           const std::string& message) {
    ExpectRefused([&] { LmHeadKd(hidden, head, labels, options); }, "retort::lm_head_kd: " + message);
  };
  refused({}, {}, "labels must be teacher_hidden with teacher_head, or ids");
  refused({problem.teacher.teacher_hidden_nE, head, {}}, {},
          "teacher_hidden is [4, 12]; it must be [n, E'] = [4, 8]");
  refused({problem.teacher.teacher_hidden_nE, at::zeros({49, 12}), {}}, {},
          "teacher_head is [49, 12]; it must be [V, E'] = [50, 12]");
  refused({{}, {}, at::zeros({4}, at::kInt)}, {}, "ids is Int [4] on cpu; it must be int64 [n] = [4] on cpu");
  refused({{}, {}, at::full({4}, 50, at::kLong)}, {}, "ids has 50; it must be from 0 to 49");
  refused(problem.tokens, {LmHeadKdLoss::kDivergence, 1, {}}, "the divergence needs a teacher");
  refused(problem.teacher, {LmHeadKdLoss::kCrossEntropy, 0, {}}, "temperature is 0; it must be above 0");
  refused(problem.teacher, {LmHeadKdLoss::kCrossEntropy, 1, at::ones({3}, at::kBool)},
          "mask is Bool [3] on cpu; it must be bool [n] = [4] on cpu");
  ExpectRefused([&] { LmHeadKd(hidden[0], head, problem.tokens, {}); },
                "retort::lm_head_kd: hidden is [8]; it must be [n, E]");
  LmHeadLabels training = problem.teacher;
  training.teacher_head_VE = training.teacher_head_VE.detach().requires_grad_();
  refused(training, {}, "teacher_hidden or teacher_head requires a gradient");
}

TEST(LmHeadKdOp, RefusesToBeDifferentiatedTwice) {
  const Problem problem = RandomProblem(4, 50);
  const at::Tensor loss = LmHeadKd(problem.hidden, problem.head, problem.teacher, {});
  const auto once = torch::autograd::grad({loss.square()}, {problem.hidden}, {}, /*retain_graph=*/true,
                                          /*create_graph=*/true);
  ExpectRefused([&] { once[0].sum().backward(); }, "retort::lm_head_kd is not differentiable twice");
}

}  // namespace
}  // namespace retort
