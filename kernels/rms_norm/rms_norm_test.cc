#include "kernels/rms_norm/rms_norm.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/base/testing_threads.h"
#include "kernels/rms_norm/rms_norm_ref.h"

namespace retort {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();

// Numbers that are floats, held as doubles: the reference and the kernels see the same inputs.
std::vector<double> Normal(std::mt19937& random, int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<double> values(count);
  for (double& value : values) value = normal(random);
  return values;
}

struct Case {
  RmsNormRefInputs inputs;
  std::vector<double> dy;
};

Case MakeCase(bool gated, int64_t rows, int64_t groups, int64_t width) {
  std::mt19937 random(rows * 31 + groups * 7 + width);
  const int64_t channels = groups * width;
  return {{{rows, groups, width, 1e-5f},
           Normal(random, rows * channels),
           Normal(random, gated ? rows * channels : 0),
           Normal(random, channels)},
          Normal(random, rows * channels)};
}

struct Results {
  std::vector<double> y;
  RmsNormRefGradients grad;
};

Results RunReference(const Case& given) {
  return {RmsNormForwardRef(given.inputs), RmsNormBackwardRef(given.inputs, given.dy)};
}

// Rows as part of wider ones, as a slice of a projection's output is.
std::vector<float> Widened(const std::vector<double>& rows, int64_t channels, int64_t gap) {
  std::vector<float> wide;
  for (size_t i = 0; i < rows.size(); ++i) {
    wide.push_back(static_cast<float>(rows[i]));
    if ((i + 1) % channels == 0) wide.insert(wide.end(), gap, NAN);
  }
  return wide;
}

Results RunKernel(const Case& given, InstructionSet set, const Executor& executor, int64_t gap = 0,
                  bool weight_wanted = true) {
  const RmsNormShape& shape = given.inputs.shape;
  const int64_t channels = shape.groups * shape.width, stride = channels + gap;
  const std::vector<float> x = Widened(given.inputs.x_RM, channels, gap),
                           z = Widened(given.inputs.z_RM, channels, gap),
                           dy = Widened(given.dy, channels, gap),
                           weight(given.inputs.weight_M.begin(), given.inputs.weight_M.end());
  std::vector<float> y(given.dy.size(), NAN), rstd(shape.rows * shape.groups, NAN), dx(y.size(), NAN),
      dz(z.empty() ? 0 : y.size(), NAN), dweight(channels, NAN);
  const RmsNormRows x_rows = {x.data(), stride}, z_rows = {z.empty() ? nullptr : z.data(), stride};
  RmsNormForward({shape, x_rows, z_rows, weight.data(), y.data(), rstd.data()}, executor, set);
  RmsNormBackward({shape,
                   x_rows,
                   z_rows,
                   {dy.data(), stride},
                   weight.data(),
                   rstd.data(),
                   dx.data(),
                   dz.data(),
                   weight_wanted ? dweight.data() : nullptr},
                  executor, set);
  const auto doubles = [](const std::vector<float>& v) { return std::vector<double>(v.begin(), v.end()); };
  return {doubles(y), {doubles(dx), doubles(dz), doubles(dweight)}};
}

void ExpectWithin(double got, double expected, double bound, const char* what, size_t i) {
  constexpr double kFlushed = 1e-30;  // sigmoids below 1e-38 are 0, and are multiplied by 1e7 at most
  // Not EXPECT_NEAR, which lets no NaN fail.
  EXPECT_TRUE(std::abs(got - expected) <= bound * kEpsilon + kFlushed)
      << what << "[" << i << "]: " << got << ", expected " << expected;
}

// Rounding. Sigmoid errs by 4 eps; with the products u errs by 8 eps, and r, half of the relative error of a
// mean of squares of n terms summed in n / 4 steps at worst, by (8 + 2 sqrt(n)) eps. dx and dz are
// differences of two terms, each bounded by |du| <= r (|v| + |u r| r mean|v u|), whose error enters as that
// magnitude, not as the difference. dweight adds n = R rows.
void ExpectAsReference(const Results& got, const Case& given) {
  const auto& [shape, x, z, weight] = given.inputs;
  const Results expected = RunReference(given);
  const double relative = 24 + 4 * std::sqrt(shape.width);
  std::vector<double> dweight_bound(weight.size());
  for (size_t i = 0; i < got.y.size(); ++i) {
    const size_t group = i / shape.width * shape.width, channels = weight.size();
    double squares = 0, products = 0;
    for (size_t j = group; j < group + shape.width; ++j) {
      const double u = z.empty() ? x[j] : x[j] * z[j] / (1 + std::exp(-z[j]));
      squares += u * u;
      products += std::abs(given.dy[j] * weight[j % channels] * u);
    }
    const double r = 1 / std::sqrt(squares / shape.width + shape.eps);
    const double sigmoid = z.empty() ? 1 : 1 / (1 + std::exp(-z[i])), silu = z.empty() ? 1 : z[i] * sigmoid,
                 u = x[i] * silu;
    const double du =
        r * (std::abs(given.dy[i] * weight[i % channels]) + std::abs(u) * r * r * products / shape.width);
    ExpectWithin(got.y[i], expected.y[i], relative * std::abs(expected.y[i]), "y", i);
    ExpectWithin(got.grad.x_RM[i], expected.grad.x_RM[i], relative * du * std::abs(silu), "dx", i);
    dweight_bound[i % channels] += std::abs(given.dy[i] * u * r);
    if (z.empty()) continue;
    const double slope = sigmoid + std::abs(silu) * (1 - sigmoid);
    ExpectWithin(got.grad.z_RM[i], expected.grad.z_RM[i], relative * du * std::abs(x[i]) * slope, "dz", i);
  }
  for (size_t i = 0; i < weight.size(); ++i) {
    ExpectWithin(got.grad.weight_M[i], expected.grad.weight_M[i],
                 (relative + 4 * std::sqrt(shape.rows)) * dweight_bound[i], "dweight", i);
  }
}

double WeightedSum(const Case& given) {
  const std::vector<double> y = RmsNormForwardRef(given.inputs);
  double sum = 0;
  for (size_t i = 0; i < y.size(); ++i) sum += y[i] * given.dy[i];
  return sum;
}

class RmsNormReference : public testing::TestWithParam<bool> {};

INSTANTIATE_TEST_SUITE_P(, RmsNormReference, testing::Bool(),
                         [](const auto& info) { return info.param ? "gated" : "ungated"; });

TEST_P(RmsNormReference, GradientsAreThoseOfFiniteDifferences) {
  Case given = MakeCase(GetParam(), 3, 2, 4);
  const RmsNormRefGradients grad = RmsNormBackwardRef(given.inputs, given.dy);
  const auto check = [&](std::vector<double>& values, const std::vector<double>& expected) {
    ASSERT_EQ(values.size(), expected.size());
    for (size_t i = 0; i < values.size(); ++i) {
      constexpr double kStep = 1e-5;  // central: error of kStep^2 and 1e-16 / kStep
      const double value = values[i];
      values[i] = value + kStep;
      const double above = WeightedSum(given);
      values[i] = value - kStep;
      const double below = WeightedSum(given);
      values[i] = value;
      ASSERT_NEAR(expected[i], (above - below) / (2 * kStep), 1e-8) << i;
    }
  };
  check(given.inputs.x_RM, grad.x_RM);
  check(given.inputs.z_RM, grad.z_RM);
  check(given.inputs.weight_M, grad.weight_M);
}

// By instruction set, and whether there is a gate.
class RmsNorm : public testing::TestWithParam<std::tuple<InstructionSet, bool>> {
 protected:
  static InstructionSet Set() { return std::get<0>(GetParam()); }
  static Case Make(int64_t rows, int64_t groups, int64_t width) {
    return MakeCase(std::get<1>(GetParam()), rows, groups, width);
  }
};

INSTANTIATE_TEST_SUITE_P(, RmsNorm,
                         testing::Combine(testing::ValuesIn(SupportedInstructionSets()), testing::Bool()),
                         [](const auto& info) {
                           return std::string(Name(std::get<0>(info.param))) +
                                  (std::get<1>(info.param) ? "_gated" : "_ungated");
                         });

TEST_P(RmsNorm, IsTheReferenceForAllWidthsAndGroups) {
  for (const int64_t groups : {1, 3}) {
    for (const int64_t width : {1, 7, 16, 48, 64, 80, 100, 128, 576}) {
      SCOPED_TRACE(testing::Message() << groups << " groups of " << width);
      const Case given = Make(5, groups, width);
      ExpectAsReference(RunKernel(given, Set(), SerialExecutor()), given);
    }
  }
}

TEST_P(RmsNorm, IsTheReferenceForAllNumbersOfRows) {
  for (const int64_t rows : {0, 1, 2, 65, 408, 409, 410, 900}) {  // an item: 409
    SCOPED_TRACE(rows);
    const Case given = Make(rows, 2, 20);
    ExpectAsReference(RunKernel(given, Set(), SerialExecutor()), given);
  }
}

TEST_P(RmsNorm, ReadsRowsOfWiderArrays) {
  const Case given = Make(9, 2, 20);
  ExpectAsReference(RunKernel(given, Set(), SerialExecutor(), /*gap=*/3), given);
}

TEST_P(RmsNorm, LeavesOutTheWeightsGradientWhereItIsFrozen) {
  const Case given = Make(9, 2, 20);
  const Results wanted = RunKernel(given, Set(), SerialExecutor()),
                frozen = RunKernel(given, Set(), SerialExecutor(), /*gap=*/0, /*weight_wanted=*/false);
  EXPECT_EQ(frozen.grad.x_RM, wanted.grad.x_RM);
  for (const double untouched : frozen.grad.weight_M) EXPECT_TRUE(std::isnan(untouched));
}

TEST_P(RmsNorm, GivesTheSameBitsOnAnyNumberOfThreads) {
  const Case given = Make(300, 2, 150);
  const Results one = RunKernel(given, Set(), SerialExecutor()),
                two = RunKernel(given, Set(), TestingThreads(2));
  EXPECT_EQ(one.y, two.y);
  EXPECT_EQ(one.grad.x_RM, two.grad.x_RM);
  EXPECT_EQ(one.grad.z_RM, two.grad.z_RM);
  EXPECT_EQ(one.grad.weight_M, two.grad.weight_M);
}

TEST_P(RmsNorm, OfARowOfZerosIsZeroWithFiniteGradients) {
  Case given = Make(2, 1, 20);
  std::fill(given.inputs.x_RM.begin(), given.inputs.x_RM.begin() + 20, 0.0);
  const Results got = RunKernel(given, Set(), SerialExecutor());
  ExpectAsReference(got, given);
  EXPECT_THAT(std::vector<double>(got.y.begin(), got.y.begin() + 20), testing::Each(0.0));
}

TEST_P(RmsNorm, StandsLargeGatesAndInputs) {
  Case given = Make(4, 2, 20);
  for (double& z : given.inputs.z_RM) z *= 32;  // saturates the sigmoid at both ends
  for (double& x : given.inputs.x_RM) x *= 8192;
  ExpectAsReference(RunKernel(given, Set(), SerialExecutor()), given);
}

TEST_P(RmsNorm, KeepsANanWithinItsRowAndGroup) {
  Case given = Make(3, 2, 20);
  given.inputs.x_RM[40 + 20 + 3] = NAN;  // row 1, group 1
  const Results got = RunKernel(given, Set(), SerialExecutor());
  for (size_t i = 0; i < got.y.size(); ++i) {
    ASSERT_EQ(std::isnan(got.y[i]), i >= 60 && i < 80) << i;
    ASSERT_EQ(std::isnan(got.grad.x_RM[i]), i >= 60 && i < 80) << i;
    if (got.grad.z_RM.empty()) continue;
    ASSERT_EQ(std::isnan(got.grad.z_RM[i]), i >= 60 && i < 80) << i;
  }
}

}  // namespace
}  // namespace retort
