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
  at::Tensor hidden, head;
  HeadTargets soft, text;
};

Head MakeHead(at::ScalarType type) {
  Numbers numbers(type);
  Head made;
  made.hidden = numbers.Normal({kPositions, kWidth});
  made.head = numbers.Normal({kVocabulary, kWidth});
  made.soft.teacher_hidden_nE = numbers.Normal({kPositions, kWidth});
  made.soft.teacher_head_VE = numbers.Normal({kVocabulary, kWidth});
  made.text.ids_n = numbers.Ids();
  return made;
}

// Cross-entropy as everybody writes it, all logits at once, with autograd.
struct Plain {
  double mean;
  at::Tensor grad_hidden, grad_head;
};

Plain PlainCrossEntropy(const Head& head, const HeadTargets& targets) {
  const at::Tensor hidden = head.hidden.clone().requires_grad_(true),
                   rows = head.head.clone().requires_grad_(true);
  const at::Tensor log_p = at::log_softmax(at::matmul(hidden, rows.t()), -1);
  const at::Tensor labels =
      targets.ids_n.defined()
          ? at::one_hot(targets.ids_n, kVocabulary).to(hidden.scalar_type())
          : at::softmax(at::matmul(targets.teacher_hidden_nE, targets.teacher_head_VE.t()), -1);
  const at::Tensor loss = -(labels * log_p).sum(-1).mean();
  loss.backward();
  return {loss.item<double>(), hidden.grad(), rows.grad()};
}

void ExpectAsPlain(const Head& head, const HeadTargets& targets, double tolerance) {
  const Plain plain = PlainCrossEntropy(head, targets);
  const at::Tensor grad_head = at::ones_like(head.head);  // what is there already stays in the sum
  const HeadLoss loss = HeadCrossEntropy(head.hidden, head.head, targets, grad_head);
  EXPECT_NEAR(loss.mean, plain.mean, tolerance * plain.mean);
  // A gradient's elements are sums over the vocabulary or the positions: errors scale with its largest.
  const double largest_hidden = plain.grad_hidden.abs().max().item<double>();
  const double largest_head = plain.grad_head.abs().max().item<double>();
  EXPECT_LE((loss.grad_hidden_nE - plain.grad_hidden).abs().max().item<double>(), tolerance * largest_hidden);
  EXPECT_LE((grad_head - 1 - plain.grad_head).abs().max().item<double>(), tolerance * (1 + largest_head));
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

TEST(HeadCrossEntropy, GivesTheSameGradientWithoutTheHeads) {
  const Head head = MakeHead(at::kFloat);
  const HeadLoss with = HeadCrossEntropy(head.hidden, head.head, head.soft, at::zeros_like(head.head));
  const HeadLoss without = HeadCrossEntropy(head.hidden, head.head, head.soft, at::Tensor());
  EXPECT_EQ(with.mean, without.mean);
  EXPECT_TRUE(with.grad_hidden_nE.equal(without.grad_hidden_nE));
}

TEST(HeadCrossEntropy, OfTheTeachersOwnStateIsItsEntropyWithoutAGradient) {
  const Head head = MakeHead(at::kDouble);
  const HeadTargets own = {head.hidden, head.head, at::Tensor()};
  const HeadLoss loss = HeadCrossEntropy(head.hidden, head.head, own, at::Tensor());
  const at::Tensor p = at::softmax(at::matmul(head.hidden, head.head.t()), -1);
  EXPECT_NEAR(loss.mean, -(p * p.log()).sum(-1).mean().item<double>(), 1e-12);
  EXPECT_LT(loss.grad_hidden_nE.abs().max().item<double>(), 1e-15);
}

}  // namespace
}  // namespace retort
