// How tests compare tensors. NaN is near to nothing.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "gtest/gtest.h"

namespace retort {

// Within `tolerance`, everywhere.
inline void ExpectNear(const at::Tensor& got, const at::Tensor& expected, double tolerance,
                       const std::string& what) {
  ASSERT_EQ(got.sizes(), expected.sizes()) << what;
  if (got.numel() == 0) return;
  const double difference = (got.to(at::kDouble) - expected.to(at::kDouble)).abs().max().item<double>();
  EXPECT_TRUE(difference <= tolerance) << what << ": " << difference;
}

// Within `tolerance` times the largest element of `expected`.
inline void ExpectClose(const at::Tensor& got, const at::Tensor& expected, double tolerance,
                        const std::string& what) {
  const double largest = expected.numel() == 0 ? 0 : expected.abs().max().item<double>();
  ExpectNear(got, expected, tolerance * largest, what);
}

}  // namespace retort
