#include "train/stages/guards.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace retort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string Message(const absl::Status& status) { return std::string(status.message()); }

std::vector<Trainable> OneTrainable(const at::Tensor& gradient) {
  const Trainable trainable = {"model.layers.3.mamba.D", at::ones({2}).requires_grad_(true), false};
  trainable.value.mutable_grad() = gradient;
  return {trainable};
}

TEST(CheckLoss, RefusesWhatIsNotFiniteAtAnyStep) {
  for (double loss : {kNaN, kInfinity, -kInfinity}) {
    const absl::Status status = CheckLoss(Stage::kHiddenStateAlignment, 6, "layer 3", loss, 512);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(Message(status), HasSubstr("hidden_state_alignment, step 7, layer 3: the loss is"));
  }
}

TEST(CheckLoss, RefusesAnAbsurdFirstLossOfALayer) {
  EXPECT_TRUE(CheckLoss(Stage::kMatrixOrientation, 0, "layer 3", 9.9e4, 512).ok());
  const absl::Status status = CheckLoss(Stage::kMatrixOrientation, 0, "layer 3", 1.1e5, 512);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Message(status),
              AllOf(HasSubstr("matrix_orientation, step 1, layer 3"), HasSubstr("first loss")));
}

// 10 ln 512 = 62.4.
TEST(CheckLoss, MeasuresTheFirstLossOfStageThreeByTheVocabulary) {
  EXPECT_TRUE(CheckLoss(Stage::kEndToEnd, 0, "student", 62.0, 512).ok());
  EXPECT_EQ(CheckLoss(Stage::kEndToEnd, 0, "student", 63.0, 512).code(), absl::StatusCode::kInternal);
}

TEST(CheckLoss, LetsLaterLossesRise) {
  EXPECT_TRUE(CheckLoss(Stage::kMatrixOrientation, 1, "layer 3", 1e6, 512).ok());
  EXPECT_TRUE(CheckLoss(Stage::kEndToEnd, 1, "student", 100.0, 512).ok());
}

TEST(CheckGradients, AcceptsAnyElementThatMoves) {
  EXPECT_TRUE(
      CheckGradients(Stage::kMatrixOrientation, 0, "layer 3", OneTrainable(at::tensor({0.0f, -1e-9f}))).ok());
}

TEST(CheckGradients, NamesTheTensorAndTheLayerOfABadGradient) {
  const float nan = static_cast<float>(kNaN), infinity = static_cast<float>(kInfinity);
  at::Tensor mostly_finite = at::ones({1000});
  mostly_finite[501] = nan;
  const std::pair<at::Tensor, std::string> cases[] = {
      {mostly_finite, "not finite"},
      {at::Tensor(), "no gradient"},
      {at::zeros({2}), "zero everywhere"},
      {at::tensor({0.0f, nan}), "not finite"},
      {at::tensor({-infinity, 1.0f}), "not finite"},
  };
  for (const auto& [gradient, what] : cases) {
    const absl::Status status =
        CheckGradients(Stage::kMatrixOrientation, 0, "layer 3", OneTrainable(gradient));
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << what;
    EXPECT_THAT(Message(status), AllOf(HasSubstr("matrix_orientation"), HasSubstr("layer 3"),
                                       HasSubstr("model.layers.3.mamba.D"), HasSubstr(what)));
  }
}

TEST(CheckGradients, LetsOnlyLaterStepsHaveAZeroGradient) {
  EXPECT_TRUE(CheckGradients(Stage::kMatrixOrientation, 1, "layer 3", OneTrainable(at::zeros({2}))).ok());
  const at::Tensor nan = at::full({2}, kNaN);
  EXPECT_FALSE(CheckGradients(Stage::kMatrixOrientation, 1, "layer 3", OneTrainable(nan)).ok());
}

}  // namespace
}  // namespace retort
