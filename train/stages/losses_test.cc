#include "train/stages/losses.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

namespace retort {
namespace {

constexpr int64_t kPositions = 513, kWidth = 8, kVocabulary = 50;  // two chunks and one position

// The same numbers in every run.
class Numbers {
 public:
  explicit Numbers(at::ScalarType type) : type_(type) {}
  at::Tensor Normal(at::IntArrayRef shape) {
    return at::empty(shape, at::kDouble).normal_(0, 1, generator_).to(type_);
  }
  at::Tensor Ids() { return at::empty({kPositions}, at::kLong).random_(0, kVocabulary, generator_); }

 private:
  at::ScalarType type_;
  at::Generator generator_ = at::make_generator<at::CPUGeneratorImpl>(11);
};

struct Head {
  at::Tensor hidden;
  HeadWeights head;
  HeadTargets soft, text;
};

Head MakeHead(at::ScalarType type, bool biased = false) {
  Numbers numbers(type);
  Head made;
  made.hidden = numbers.Normal({kPositions, kWidth});
  made.head.weight_VE = numbers.Normal({kVocabulary, kWidth});
  made.soft.teacher_hidden_nE = numbers.Normal({kPositions, kWidth});
  made.soft.teacher_head.weight_VE = numbers.Normal({kVocabulary, kWidth});
  made.text.ids_n = numbers.Ids();
  if (biased) {
    made.head.bias_V = numbers.Normal({kVocabulary});
    made.soft.teacher_head.bias_V = numbers.Normal({kVocabulary});
  }
  return made;
}

at::Tensor PlainLogits(const at::Tensor& hidden, const HeadWeights& head) {
  const at::Tensor logits = at::matmul(hidden, head.weight_VE.t());
  return head.bias_V.defined() ? logits + head.bias_V : logits;
}

// Cross-entropy as everybody writes it, all logits at once, with autograd.
struct Plain {
  double mean;
  at::Tensor grad_hidden;
  HeadWeights grad_head;
};

Plain PlainCrossEntropy(const Head& head, const HeadTargets& targets) {
  const at::Tensor hidden = head.hidden.clone().requires_grad_(true);
  HeadWeights own = {head.head.weight_VE.clone().requires_grad_(true), at::Tensor()};
  if (head.head.bias_V.defined()) own.bias_V = head.head.bias_V.clone().requires_grad_(true);
  const at::Tensor log_p = at::log_softmax(PlainLogits(hidden, own), -1);
  const at::Tensor labels =
      targets.ids_n.defined() ? at::one_hot(targets.ids_n, kVocabulary).to(hidden.scalar_type())
                              : at::softmax(PlainLogits(targets.teacher_hidden_nE, targets.teacher_head), -1);
  const at::Tensor loss = -(labels * log_p).sum(-1).mean();
  loss.backward();
  return {loss.item<double>(),
          hidden.grad(),
          {own.weight_VE.grad(), own.bias_V.defined() ? own.bias_V.grad() : at::Tensor()}};
}

void ExpectAsPlain(const Head& head, const HeadTargets& targets, double tolerance) {
  const Plain plain = PlainCrossEntropy(head, targets);
  HeadWeights grad_head = {at::ones_like(head.head.weight_VE), at::Tensor()};  // which stays in the sum
  if (head.head.bias_V.defined()) grad_head.bias_V = at::ones_like(head.head.bias_V);
  const HeadLoss loss = HeadCrossEntropy(head.hidden, head.head, targets, grad_head);
  EXPECT_NEAR(loss.mean, plain.mean, tolerance * plain.mean);
  // A gradient's elements are sums over the vocabulary or the positions: errors scale with its largest.
  const double largest_hidden = plain.grad_hidden.abs().max().item<double>();
  const double largest_head = plain.grad_head.weight_VE.abs().max().item<double>();
  EXPECT_LE((loss.grad_hidden_nE - plain.grad_hidden).abs().max().item<double>(), tolerance * largest_hidden);
  EXPECT_LE((grad_head.weight_VE - 1 - plain.grad_head.weight_VE).abs().max().item<double>(),
            tolerance * (1 + largest_head));
  if (!head.head.bias_V.defined()) return;
  EXPECT_GT(plain.grad_head.bias_V.abs().max().item<double>(), 1e-3);
  EXPECT_LE((grad_head.bias_V - 1 - plain.grad_head.bias_V).abs().max().item<double>(), tolerance);
}

TEST(MatrixOrientationLoss, IsTheMeanFrobeniusNormOverHeads) {
  const at::Tensor teacher = at::ones({1, 2, 2, 2});
  const at::Tensor difference =
      at::tensor({3.0f, 0.0f, 0.0f, 4.0f, 0.0f, 0.0f, 12.0f, -5.0f}).view({1, 2, 2, 2});
  EXPECT_FLOAT_EQ(MatrixOrientationLoss(teacher + difference, teacher).item<float>(), 9.0f);  // (5 + 13) / 2
}

TEST(HiddenStateLoss, IsTheMeanDistanceOverTokens) {
  const at::Tensor teacher = at::ones({2, 2, 2});
  const at::Tensor difference = at::tensor({3.0f, 4.0f, 0.0f, 0.0f, -6.0f, 8.0f, 0.0f, 1.0f}).view({2, 2, 2});
  EXPECT_FLOAT_EQ(HiddenStateLoss(teacher + difference, teacher).item<float>(),
                  4.0f);  // (5 + 0 + 10 + 1) / 4
}

TEST(HiddenStateLoss, PullsEachTokenAlongItsDifference) {
  const at::Tensor teacher = at::ones({1, 2, 2});
  const at::Tensor student =
      (teacher + at::tensor({3.0f, 4.0f, 0.0f, -2.0f}).view({1, 2, 2})).requires_grad_(true);
  (3 * HiddenStateLoss(student, teacher)).backward();
  EXPECT_TRUE(at::allclose(student.grad().flatten(), at::tensor({0.9f, 1.2f, 0.0f, -1.5f})))
      << student.grad();
}

TEST(HiddenStateLoss, HasAFiniteGradientWhereStudentAndTeacherAgree) {
  const at::Tensor teacher = at::ones({1, 2, 4}), student = teacher.clone().requires_grad_(true);
  HiddenStateLoss(student, teacher).backward();
  EXPECT_TRUE(student.grad().isfinite().all().item<bool>());
}

TEST(HeadCrossEntropy, OfSoftLabelsIsThePlainOne) {
  const Head in_double = MakeHead(at::kDouble), in_float = MakeHead(at::kFloat);
  ExpectAsPlain(in_double, in_double.soft, 1e-12);
  ExpectAsPlain(in_float, in_float.soft, 1e-5);
}

TEST(HeadCrossEntropy, OfTokensIsThePlainOne) {
  const Head in_double = MakeHead(at::kDouble), in_float = MakeHead(at::kFloat);
  ExpectAsPlain(in_double, in_double.text, 1e-12);
  ExpectAsPlain(in_float, in_float.text, 1e-5);
}

TEST(HeadCrossEntropy, CountsABiasedHeadsBias) {
  const Head in_double = MakeHead(at::kDouble, /*biased=*/true),
             in_float = MakeHead(at::kFloat, /*biased=*/true);
  for (const auto& [head, tolerance] : {std::pair(in_double, 1e-12), std::pair(in_float, 1e-5)}) {
    ExpectAsPlain(head, head.soft, tolerance);
    ExpectAsPlain(head, head.text, tolerance);
  }
}

TEST(HeadCrossEntropy, GivesTheSameGradientWithoutTheHeads) {
  const Head head = MakeHead(at::kFloat);
  const HeadLoss with = HeadCrossEntropy(head.hidden, head.head, head.soft,
                                         {at::zeros_like(head.head.weight_VE), at::Tensor()});
  const HeadLoss without = HeadCrossEntropy(head.hidden, head.head, head.soft, HeadWeights{});
  EXPECT_EQ(with.mean, without.mean);
  EXPECT_TRUE(with.grad_hidden_nE.equal(without.grad_hidden_nE));
}

TEST(HeadCrossEntropy, OfTheTeachersOwnStateIsItsEntropyWithoutAGradient) {
  const Head head = MakeHead(at::kDouble);
  const HeadTargets own = {head.hidden, head.head, at::Tensor()};
  const HeadLoss loss = HeadCrossEntropy(head.hidden, head.head, own, HeadWeights{});
  const at::Tensor p = at::softmax(PlainLogits(head.hidden, head.head), -1);
  EXPECT_NEAR(loss.mean, -(p * p.log()).sum(-1).mean().item<double>(), 1e-12);
  EXPECT_LT(loss.grad_hidden_nE.abs().max().item<double>(), 1e-15);
}

}  // namespace
}  // namespace retort
