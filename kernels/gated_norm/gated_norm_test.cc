#include "kernels/gated_norm/gated_norm.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/base/testing_threads.h"
#include "kernels/gated_norm/gated_norm_ref.h"

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
  GatedNormRefInputs inputs;
  std::vector<double> dy;
};

Case MakeCase(int64_t rows, int64_t groups, int64_t width) {
  std::mt19937 random(rows * 31 + groups * 7 + width);
  const int64_t channels = groups * width;
  return {{{rows, groups, width, 1e-5f},
           Normal(random, rows * channels),
           Normal(random, rows * channels),
           Normal(random, channels)},
          Normal(random, rows * channels)};
}

struct Results {
  std::vector<double> y;
  GatedNormRefGradients grad;
};

Results RunReference(const Case& given) {
  return {GatedNormForwardRef(given.inputs), GatedNormBackwardRef(given.inputs, given.dy)};
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

Results RunKernel(const Case& given, InstructionSet set, const Executor& executor, int64_t gap = 0) {
  const GatedNormShape& shape = given.inputs.shape;
  const int64_t channels = shape.groups * shape.width, stride = channels + gap;
  const std::vector<float> x = Widened(given.inputs.x_RM, channels, gap),
                           z = Widened(given.inputs.z_RM, channels, gap),
                           dy = Widened(given.dy, channels, gap),
                           weight(given.inputs.weight_M.begin(), given.inputs.weight_M.end());
  std::vector<float> y(given.dy.size(), NAN), rstd(shape.rows * shape.groups, NAN), dx(y.size(), NAN),
      dz(y.size(), NAN), dweight(channels, NAN);
  const GatedNormRows x_rows = {x.data(), stride}, z_rows = {z.data(), stride};
  GatedNormForward({shape, x_rows, z_rows, weight.data(), y.data(), rstd.data()}, executor, set);
  GatedNormBackward({shape,
                     x_rows,
                     z_rows,
                     {dy.data(), stride},
                     weight.data(),
                     rstd.data(),
                     dx.data(),
                     dz.data(),
                     dweight.data()},
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
      const double u = x[j] * z[j] / (1 + std::exp(-z[j]));
      squares += u * u;
      products += std::abs(given.dy[j] * weight[j % channels] * u);
    }
    const double r = 1 / std::sqrt(squares / shape.width + shape.eps);
    const double sigmoid = 1 / (1 + std::exp(-z[i])), silu = z[i] * sigmoid, u = x[i] * silu;
    const double du =
        r * (std::abs(given.dy[i] * weight[i % channels]) + std::abs(u) * r * r * products / shape.width);
    const double slope = sigmoid + std::abs(silu) * (1 - sigmoid);
    ExpectWithin(got.y[i], expected.y[i], relative * std::abs(expected.y[i]), "y", i);
    ExpectWithin(got.grad.x_RM[i], expected.grad.x_RM[i], relative * du * std::abs(silu), "dx", i);
    ExpectWithin(got.grad.z_RM[i], expected.grad.z_RM[i], relative * du * std::abs(x[i]) * slope, "dz", i);
    dweight_bound[i % channels] += std::abs(given.dy[i] * u * r);
  }
  for (size_t i = 0; i < weight.size(); ++i) {
    ExpectWithin(got.grad.weight_M[i], expected.grad.weight_M[i],
                 (relative + 4 * std::sqrt(shape.rows)) * dweight_bound[i], "dweight", i);
  }
}

double WeightedSum(const Case& given) {
  const std::vector<double> y = GatedNormForwardRef(given.inputs);
  double sum = 0;
  for (size_t i = 0; i < y.size(); ++i) sum += y[i] * given.dy[i];
  return sum;
}

TEST(GatedNormReference, GradientsAreThoseOfFiniteDifferences) {
  Case given = MakeCase(3, 2, 4);
  const GatedNormRefGradients grad = GatedNormBackwardRef(given.inputs, given.dy);
  const auto check = [&](std::vector<double>& values, const std::vector<double>& expected) {
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

class GatedNorm : public testing::TestWithParam<InstructionSet> {};

INSTANTIATE_TEST_SUITE_P(, GatedNorm, testing::ValuesIn(SupportedInstructionSets()),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(GatedNorm, IsTheReferenceForAllWidthsAndGroups) {
  for (const int64_t groups : {1, 3}) {
    for (const int64_t width : {1, 7, 16, 48, 64, 80, 100, 128, 576}) {
      SCOPED_TRACE(testing::Message() << groups << " groups of " << width);
      const Case given = MakeCase(5, groups, width);
      ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
    }
  }
}

TEST_P(GatedNorm, IsTheReferenceForAllNumbersOfRows) {
  for (const int64_t rows : {0, 1, 2, 15, 16, 17, 63, 64, 65, 200}) {
    SCOPED_TRACE(rows);
    const Case given = MakeCase(rows, 2, 20);
    ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
  }
}

TEST_P(GatedNorm, ReadsRowsOfWiderArrays) {
  const Case given = MakeCase(9, 2, 20);
  ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor(), /*gap=*/3), given);
}

TEST_P(GatedNorm, GivesTheSameBitsOnAnyNumberOfThreads) {
  const Case given = MakeCase(300, 2, 150);
  const Results one = RunKernel(given, GetParam(), SerialExecutor()),
                two = RunKernel(given, GetParam(), TestingThreads(2));
  EXPECT_EQ(one.y, two.y);
  EXPECT_EQ(one.grad.x_RM, two.grad.x_RM);
  EXPECT_EQ(one.grad.z_RM, two.grad.z_RM);
  EXPECT_EQ(one.grad.weight_M, two.grad.weight_M);
}

TEST_P(GatedNorm, OfARowOfZerosIsZeroWithFiniteGradients) {
  Case given = MakeCase(2, 1, 20);
  std::fill(given.inputs.x_RM.begin(), given.inputs.x_RM.begin() + 20, 0.0);
  const Results got = RunKernel(given, GetParam(), SerialExecutor());
  ExpectAsReference(got, given);
  EXPECT_THAT(std::vector<double>(got.y.begin(), got.y.begin() + 20), testing::Each(0.0));
}

TEST_P(GatedNorm, StandsLargeGatesAndInputs) {
  Case given = MakeCase(4, 2, 20);
  for (double& z : given.inputs.z_RM) z *= 32;  // saturates the sigmoid at both ends
  for (double& x : given.inputs.x_RM) x *= 8192;
  ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
}

TEST_P(GatedNorm, KeepsANanWithinItsRowAndGroup) {
  Case given = MakeCase(3, 2, 20);
  given.inputs.x_RM[40 + 20 + 3] = NAN;  // row 1, group 1
  const Results got = RunKernel(given, GetParam(), SerialExecutor());
  for (size_t i = 0; i < got.y.size(); ++i) {
    ASSERT_EQ(std::isnan(got.y[i]), i >= 60 && i < 80) << i;
    ASSERT_EQ(std::isnan(got.grad.z_RM[i]), i >= 60 && i < 80) << i;
  }
}

}  // namespace
}  // namespace retort
