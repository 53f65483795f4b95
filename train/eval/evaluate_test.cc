#include "train/eval/evaluate.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "train/data/eval_windows.h"
#include "train/eval/free_running.h"
#include "train/stages/layer_trainer.h"
#include "train/stages/testing_tiny.h"

namespace retort {
namespace {

// Held-out text in windows of 24 tokens and less, and one that is longer than the head's chunks of 256.
TokenWindows Windows() {
  TokenWindows windows = EvalWindows(TinyDirectory() / "corpus/eval.bin",
                                     {.max_window = 24, .max_tokens = 110, .vocab_size = 512})
                             .value();
  windows.push_back(
      EvalWindows(TinyDirectory() / "corpus/off_domain.bin", {.max_window = 300, .vocab_size = 512})
          .value()[0]);
  return windows;
}

at::Tensor Ids(const std::vector<int32_t>& window) {
  return at::tensor(window, at::kInt).to(at::kLong).unsqueeze(0);
}

// Log-probabilities of all predicted tokens of a window, [T - 1, V].
at::Tensor LogProbabilities(const LanguageModel& model, const std::vector<int32_t>& window) {
  return at::log_softmax(Logits(model, Ids(window)).to(at::kDouble), -1)[0].narrow(0, 0, window.size() - 1);
}

v1::EvaluationSpec Prompts(int prompts, int prompt_tokens, int continuation_tokens) {
  v1::EvaluationSpec spec;
  spec.set_prompts(prompts);
  spec.set_prompt_tokens(prompt_tokens);
  spec.set_continuation_tokens(continuation_tokens);
  return spec;
}

class EvaluateTest : public testing::Test {
 protected:
  static absl::StatusOr<Quality> Unwatched(const LanguageModel& model, const LanguageModel* teacher,
                                           const TokenWindows& windows) {
    return Evaluate(model, teacher, windows, kGoOn, [] {});
  }
  Quality Measure(const LanguageModel& model) { return Unwatched(model, &teacher_, windows_).value(); }
  std::vector<double> Distances(const TokenWindows& windows) {
    return Unwatched(student_, &teacher_, windows)->beside_teacher.value().hidden_distance;
  }

  const c10::NoGradGuard no_grad_;
  const LanguageModel teacher_ = TinyTeacher();
  LanguageModel student_ = TinyStudent(teacher_, TinyJob());
  const TokenWindows windows_ = Windows();
};

TEST_F(EvaluateTest, FindsNoDifferenceBetweenTheTeacherAndItself) {
  const Quality quality = Measure(teacher_);
  const TeacherComparison beside = quality.beside_teacher.value();
  EXPECT_NEAR(beside.kl, 0.0, 1e-12);
  EXPECT_EQ(beside.top1_agreement, 1.0);
  EXPECT_EQ(beside.hidden_distance, std::vector<double>(4, 0.0));
  EXPECT_EQ(beside.teacher_perplexity, quality.perplexity);
}

TEST_F(EvaluateTest, PredictsEveryTokenButTheFirstOfEachWindow) {
  uint64_t expected = 0;
  std::set<size_t> sizes;
  for (const auto& window : windows_) {
    expected += window.size() - 1;
    sizes.insert(window.size());
  }
  ASSERT_GE(sizes.size(), 3u);
  EXPECT_EQ(Measure(student_).tokens, expected);
}

TEST_F(EvaluateTest, PerplexityIsThatOfTheLogits) {
  double nll = 0, predicted = 0;
  for (const auto& window : windows_) {
    const at::Tensor log_p = LogProbabilities(student_, window);
    for (size_t i = 0; i + 1 < window.size(); ++i) nll -= log_p[i][window[i + 1]].item<double>();
    predicted += window.size() - 1;
  }
  const double expected = std::exp(nll / predicted);
  EXPECT_NEAR(Measure(student_).perplexity, expected, 1e-5 * expected);
  EXPECT_NEAR(Unwatched(student_, nullptr, windows_)->perplexity, expected, 1e-5 * expected);
}

TEST_F(EvaluateTest, ComparesDistributionsAsTheLogitsDo) {
  double kl = 0, agreements = 0, predicted = 0;
  for (const auto& window : windows_) {
    const at::Tensor log_p = LogProbabilities(student_, window), log_t = LogProbabilities(teacher_, window);
    kl += (log_t.exp() * (log_t - log_p)).sum().item<double>();
    agreements += log_t.argmax(-1).eq(log_p.argmax(-1)).sum().item<double>();
    predicted += window.size() - 1;
  }
  const TeacherComparison beside = Measure(student_).beside_teacher.value();
  EXPECT_NEAR(beside.kl, kl / predicted, 1e-5 * kl / predicted);
  EXPECT_DOUBLE_EQ(beside.top1_agreement, agreements / predicted);
  EXPECT_LT(beside.top1_agreement, 0.9);
}

TEST_F(EvaluateTest, OfTheTeacherAloneComparesNothing) {
  EXPECT_FALSE(Unwatched(teacher_, nullptr, windows_)->beside_teacher.has_value());
}

TEST_F(EvaluateTest, DistanceOfALayerIsStageTwosLossOnTheSameTokens) {
  const std::vector<int32_t>& window = windows_[0];
  const std::vector<double> distances = Distances({window});
  EXPECT_EQ(distances[1], 0.0);  // kept
  const RotaryTable rotary = RotaryFor(teacher_, window.size());
  std::vector<BlockTaps> taps(4);
  at::Tensor hidden = Embed(teacher_, Ids(window));
  for (int64_t l = 0; l < 4; ++l) hidden = RunBlock(teacher_, l, hidden, rotary, &taps[l]);
  const c10::AutoGradMode with_grad(true);
  for (int64_t layer : {0, 2, 3}) {
    LayerTrainer trainer(TinyPlan(Stage::kHiddenStateAlignment), student_, layer);
    const double loss = trainer.Accumulate(0, taps[layer], rotary).value();
    EXPECT_NEAR(distances[layer], loss, 1e-5 * loss) << layer;
  }
}

TEST_F(EvaluateTest, WeighsDistancesByTokens) {
  const auto &a = windows_.front(), &b = windows_.back();
  ASSERT_NE(a.size(), b.size());
  const double sum = Distances({a})[2] * a.size() + Distances({b})[2] * b.size();
  const double expected = sum / (a.size() + b.size());
  EXPECT_NEAR(Distances({a, b})[2], expected, 1e-6 * expected);
}

TEST_F(EvaluateTest, CallsBackAfterEachWindow) {
  size_t measured = 0;
  ASSERT_TRUE(Evaluate(student_, nullptr, windows_, kGoOn, [&] { ++measured; }).ok());
  EXPECT_EQ(measured, windows_.size());
}

TEST_F(EvaluateTest, StopsWhenAsked) {
  std::atomic<bool> stop = false;
  int measured = 0;
  const auto stop_after_two = [&] { stop = ++measured == 2; };
  EXPECT_EQ(Evaluate(student_, nullptr, windows_, stop, stop_after_two).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(measured, 2);
  EXPECT_EQ(MakeFreeRunningReference(teacher_, windows_, Prompts(2, 16, 8), stop).status().code(),
            absl::StatusCode::kCancelled);
}

TEST_F(EvaluateTest, RefusesNumbersThatAreNotFinite) {
  student_.final_norm_E = at::full_like(student_.final_norm_E, std::nan(""));
  EXPECT_EQ(Unwatched(student_, &teacher_, windows_).status().code(), absl::StatusCode::kInternal);
}

TEST_F(EvaluateTest, TeacherAgreesWithItsOwnContinuation) {
  const FreeRunningReference reference =
      MakeFreeRunningReference(teacher_, windows_, Prompts(2, 16, 8), kGoOn).value();
  EXPECT_EQ(reference.prompts_BT.size(0), 2);
  EXPECT_EQ(reference.continuations_BS.size(1), 8);
  EXPECT_EQ(FreeRunningAgreement(teacher_, reference, kGoOn).value(), 1.0);
  EXPECT_LT(FreeRunningAgreement(student_, reference, kGoOn).value(), 1.0);
}

TEST_F(EvaluateTest, FreeRunningAgreementEndsAtTheFirstDifference) {
  const FreeRunningReference reference =
      MakeFreeRunningReference(teacher_, windows_, Prompts(2, 16, 8), kGoOn).value();
  at::Tensor third_of_first = reference.continuations_BS[0][2];
  third_of_first.copy_((third_of_first + 1) % 512);
  EXPECT_DOUBLE_EQ(FreeRunningAgreement(teacher_, reference, kGoOn).value(), (2.0 / 8 + 1) / 2);
}

TEST_F(EvaluateTest, PromptsAreTheBeginningsOfWindowsThatAreLongEnough) {
  const TokenWindows windows = {{9, 9}, {1, 2, 3, 4}, {5, 6, 7}, {8, 8, 8}};
  const at::Tensor prompts = MakeFreeRunningReference(teacher_, windows, Prompts(2, 3, 1), kGoOn)->prompts_BT;
  EXPECT_TRUE(prompts.equal(at::tensor({1, 2, 3, 5, 6, 7}, at::kLong).view({2, 3}))) << prompts;
  EXPECT_FALSE(MakeFreeRunningReference(teacher_, windows, Prompts(2, 5, 1), kGoOn)->prompts_BT.defined());
}

}  // namespace
}  // namespace retort
