#include "model/ops/largest_magnitude.h"

#include <ATen/ATen.h>

#include <cmath>

#include "model/ops/testing_ops.h"

namespace retort {
namespace {

TEST(LargestMagnitudeOp, TakesTensorsOfAnyLayout) {
  const at::Tensor transposed = at::tensor({1.0f, -7.0f, 2.0f, 3.0f, 4.0f, 5.0f}).view({2, 3}).t();
  const at::Tensor slice = at::tensor({9.0f, 0.5f, -0.25f, 9.0f}).narrow(0, 1, 2);
  EXPECT_EQ(LargestMagnitudes({transposed, slice}), (std::vector<double>{7.0, 0.5}));
  EXPECT_TRUE(LargestMagnitudes({}).empty());
}

TEST(LargestMagnitudeOp, IsNanForWhatIsNotFiniteInEitherPrecision) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const at::Tensor infinite = at::tensor({1.0, -INFINITY}).to(type), nan = at::tensor({NAN, 1.0}).to(type);
    for (const double largest : LargestMagnitudes({infinite, nan})) EXPECT_TRUE(std::isnan(largest));
  }
}

TEST(LargestMagnitudeOp, RefusesAMixture) {
  ExpectRefused(
      [] {
        LargestMagnitudes({at::ones({2}), at::ones({2}, at::kDouble)});
      },
      "retort::largest_magnitude: a tensor is Double on cpu");
}

}  // namespace
}  // namespace retort
