#include "train/optim/adamw.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

namespace retort {
namespace {

constexpr double kLr = 0.01;

Trainable MakeTrainable(const std::string& name, const std::vector<float>& values, bool decays) {
  return {name, at::tensor(values).requires_grad_(true), decays};
}

void SetGradient(const Trainable& trainable, const std::vector<float>& gradient) {
  trainable.value.mutable_grad() = at::tensor(gradient);
}

double ValueAt(const Trainable& trainable, int64_t i) { return trainable.value.detach()[i].item<double>(); }

bool SameBits(const at::Tensor& a, const at::Tensor& b) {
  return a.nbytes() == b.nbytes() && std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0;
}

// One weight under AdamW as its paper writes it (arXiv 1711.05101, algorithm 2), in double.
struct Textbook {
  double value, weight_decay;
  double m = 0, v = 0;
  int t = 0;

  void Step(double g, double lr) {
    ++t;
    m = 0.9 * m + 0.1 * g;
    v = 0.95 * v + 0.05 * g * g;
    const double m_hat = m / (1 - std::pow(0.9, t)), v_hat = v / (1 - std::pow(0.95, t));
    value -= lr * (m_hat / (std::sqrt(v_hat) + 1e-8) + weight_decay * value);
  }
};

TEST(AdamW, FollowsTheTextbookForTwoSteps) {
  const Trainable matrix = MakeTrainable("matrix", {1.0f, -2.0f}, true);
  AdamW optimizer({matrix});
  Textbook first{1.0, 0.1}, second{-2.0, 0.1};
  const float gradients[2][2] = {{0.5f, -3.0f}, {-0.25f, 4.0f}};
  for (const auto& g : gradients) {
    SetGradient(matrix, {g[0], g[1]});
    optimizer.Step(kLr);
    first.Step(g[0], kLr);
    second.Step(g[1], kLr);
  }
  EXPECT_NEAR(ValueAt(matrix, 0), first.value, 1e-7);
  EXPECT_NEAR(ValueAt(matrix, 1), second.value, 2e-7);
  EXPECT_EQ(optimizer.steps(), 2);
}

TEST(AdamW, DecaysOnlyWhatDecays) {
  const Trainable matrix = MakeTrainable("matrix", {4.0f}, true), norm = MakeTrainable("norm", {4.0f}, false);
  AdamW optimizer({norm, matrix});
  SetGradient(matrix, {0.0f});
  SetGradient(norm, {0.0f});
  optimizer.Step(kLr);
  EXPECT_FLOAT_EQ(ValueAt(matrix, 0), 4.0 * (1 - kLr * 0.1));
  EXPECT_EQ(ValueAt(norm, 0), 4.0);
}

TEST(AdamW, TakesTheGradientOfATransposedProduct) {
  const Trainable matrix = {"matrix", at::zeros({2, 2}).requires_grad_(true), true};
  AdamW optimizer({matrix});
  matrix.value.mutable_grad() = at::tensor({1.0f, -1.0f, 1.0f, 1.0f}).view({2, 2}).t();
  optimizer.Step(kLr);
  const at::Tensor signs = matrix.value.detach().sign();
  EXPECT_TRUE(signs.equal(at::tensor({-1.0f, -1.0f, 1.0f, -1.0f}).view({2, 2}))) << signs;
}

TEST(AdamW, ClipsTheJointNormAndReturnsTheOneBefore) {
  const Trainable a = MakeTrainable("a", {0.0f, 0.0f}, true), b = MakeTrainable("b", {0.0f}, false);
  AdamW optimizer({a, b});
  SetGradient(a, {3.0f, 0.0f});
  SetGradient(b, {4.0f});
  EXPECT_DOUBLE_EQ(optimizer.ClipGradients(1.0), 5.0);
  EXPECT_FLOAT_EQ(a.value.grad()[0].item<float>(), 0.6f);
  EXPECT_FLOAT_EQ(b.value.grad()[0].item<float>(), 0.8f);
}

TEST(AdamW, TakesTheShareBeforeItClips) {
  const Trainable a = MakeTrainable("a", {0.0f, 0.0f}, true);
  AdamW optimizer({a});
  SetGradient(a, {3.0f, 4.0f});
  EXPECT_DOUBLE_EQ(optimizer.ClipGradients(1.0, 0.1), 0.5);
  EXPECT_FLOAT_EQ(a.value.grad()[1].item<float>(), 0.4f);
  EXPECT_DOUBLE_EQ(optimizer.ClipGradients(0.25, 1.0), 0.5);
  EXPECT_FLOAT_EQ(a.value.grad()[1].item<float>(), 0.2f);
}

TEST(AdamW, LeavesGradientsBelowTheLimitAlone) {
  const Trainable a = MakeTrainable("a", {0.0f}, true);
  AdamW optimizer({a});
  SetGradient(a, {0.5f});
  EXPECT_DOUBLE_EQ(optimizer.ClipGradients(1.0), 0.5);
  EXPECT_EQ(a.value.grad()[0].item<float>(), 0.5f);
}

TEST(AdamW, HasNoGradientsAfterAStepNorAfterClearing) {
  const Trainable a = MakeTrainable("a", {1.0f}, true);
  AdamW optimizer({a});
  SetGradient(a, {0.5f});
  optimizer.Step(kLr);
  EXPECT_FALSE(a.value.grad().defined());
  SetGradient(a, {0.5f});
  optimizer.ClearGradients();
  EXPECT_FALSE(a.value.grad().defined());
}

TEST(AdamW, GoesOnWithTheSameBitsFromRestoredMoments) {
  const Trainable whole = MakeTrainable("w", {1.0f, -0.3f}, true);
  AdamW undisturbed({whole});
  for (float g : {0.7f, -0.2f, 0.4f}) {
    SetGradient(whole, {g, 2 * g});
    undisturbed.Step(kLr);
  }
  const Trainable again = MakeTrainable("w", {1.0f, -0.3f}, true);
  AdamW before({again});
  for (float g : {0.7f, -0.2f}) {
    SetGradient(again, {g, 2 * g});
    before.Step(kLr);
  }
  AdamW after({again});
  after.moments()[0].first.copy_(before.moments()[0].first);
  after.moments()[0].second.copy_(before.moments()[0].second);
  after.set_steps(before.steps());
  SetGradient(again, {0.4f, 0.8f});
  after.Step(kLr);
  EXPECT_TRUE(SameBits(again.value, whole.value)) << again.value << whole.value;
}

TEST(AdamW, ListsMomentsInTheOrderOfItsTrainables) {
  const Trainable norm = MakeTrainable("norm", {1.0f}, false), matrix = MakeTrainable("matrix", {1.0f}, true);
  AdamW optimizer({norm, matrix});
  SetGradient(norm, {1.0f});
  SetGradient(matrix, {2.0f});
  optimizer.Step(kLr);
  EXPECT_FLOAT_EQ(optimizer.moments()[0].first[0].item<float>(), 0.1f);
  EXPECT_FLOAT_EQ(optimizer.moments()[1].first[0].item<float>(), 0.2f);
  EXPECT_FLOAT_EQ(optimizer.moments()[1].second[0].item<float>(), 0.2f);
}

}  // namespace
}  // namespace retort
