#include "train/parallel/gradient_reducer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "train/parallel/testing_ranks.h"

namespace retort {
namespace {

// Two layers of which the first is larger than a first bucket.
struct Weights {
  at::Tensor first = at::full({700, 700}, 0.5, at::kFloat).requires_grad_(true);
  at::Tensor second = at::full({3, 700}, 0.25, at::kFloat).requires_grad_(true);

  at::Tensor Loss(const at::Tensor& x) const { return at::matmul(second, at::matmul(first, x)).sum(); }
};

at::Tensor Input(double value) { return at::full({700, 2}, value, at::kFloat); }

TEST(GradientReducer, SumsWhatAllPassesOfAllRanksHaveLeft) {
  Weights alone;
  for (const double value : {1.0, 2.0, 3.0, 4.0}) alone.Loss(Input(value)).backward();
  WithRanks(2, [&](RankGroup& group) {
    const Weights weights;
    GradientReducer reducer(group, {weights.first, weights.second});
    for (int step = 0; step < 3; ++step) {
      weights.Loss(Input(1.0 + group.rank())).backward();
      reducer.ExpectLastPass();
      weights.Loss(Input(3.0 + group.rank())).backward();
      EXPECT_TRUE(at::allclose(weights.first.grad(), alone.first.grad()));
      EXPECT_TRUE(at::allclose(weights.second.grad(), alone.second.grad()));
      weights.first.mutable_grad().zero_();
      weights.second.mutable_grad().zero_();
    }
    EXPECT_FALSE(reducer.has_failed());
  });
}

TEST(GradientReducer, KnowsThatAPeerHasGone) {
  WithRanks(2, [&](RankGroup& group) {
    if (group.rank() == 1) return;
    const Weights weights;
    GradientReducer reducer(group, {weights.first, weights.second});
    reducer.ExpectLastPass();
    EXPECT_ANY_THROW(weights.Loss(Input(1.0)).backward());
    EXPECT_TRUE(reducer.has_failed());
  });
}

}  // namespace
}  // namespace retort
