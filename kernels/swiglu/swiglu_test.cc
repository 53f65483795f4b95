#include "kernels/swiglu/swiglu.h"

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/base/testing_threads.h"
#include "kernels/swiglu/swiglu_ref.h"

namespace retort {
namespace {

struct Case {
  std::vector<double> gate, up, dy;  // floats, held as doubles
};

Case MakeCase(int64_t count) {
  std::mt19937 random(count);
  std::normal_distribution<float> normal;
  Case given;
  for (std::vector<double>* values : {&given.gate, &given.up, &given.dy}) {
    for (int64_t i = 0; i < count; ++i) values->push_back(normal(random));
  }
  for (double& gate : given.gate) gate = static_cast<float>(gate * 3);
  return given;
}

struct Results {
  std::vector<double> y, dgate, dup;
};

Results RunKernel(const Case& given, InstructionSet set, const Executor& executor) {
  const auto floats = [](const std::vector<double>& v) { return std::vector<float>(v.begin(), v.end()); };
  const auto doubles = [](const std::vector<float>& v) { return std::vector<double>(v.begin(), v.end()); };
  const int64_t count = given.gate.size();
  const std::vector<float> gate = floats(given.gate), up = floats(given.up), dy = floats(given.dy);
  std::vector<float> y(count, NAN), dgate(count, NAN), dup(count, NAN);
  SwigluForward({count, gate.data(), up.data(), y.data()}, executor, set);
  SwigluBackward({count, gate.data(), up.data(), dy.data(), dgate.data(), dup.data()}, executor, set);
  return {doubles(y), doubles(dgate), doubles(dup)};
}

void ExpectWithin(double got, double expected, double bound, const char* what, size_t i) {
  constexpr double kFlushed = 1e-30;  // sigmoids below 1e-38 are 0, and are multiplied by 1e7 at most
  // Not EXPECT_NEAR, which lets no NaN fail.
  EXPECT_TRUE(std::abs(got - expected) <= bound * std::numeric_limits<float>::epsilon() + kFlushed)
      << what << "[" << i << "]: " << got << ", expected " << expected;
}

// Sigmoid errs by 4 eps, and each product by half of one. SiLU' = s + g s (1 - s) is a sum whose second term
// may cancel the first, so its error is that of both magnitudes; 1 - s errs by 4 eps of 1, not of itself.
void ExpectAsReference(const Results& got, const Case& given) {
  const std::vector<double> y = SwigluForwardRef(given.gate, given.up);
  const SwigluRefGradients grad = SwigluBackwardRef(given.gate, given.up, given.dy);
  for (size_t i = 0; i < y.size(); ++i) {
    const double s = 1 / (1 + std::exp(-given.gate[i]));
    ExpectWithin(got.y[i], y[i], 6 * std::abs(y[i]), "y", i);
    ExpectWithin(got.dup[i], grad.up[i], 6 * std::abs(grad.up[i]), "dup", i);
    ExpectWithin(got.dgate[i], grad.gate[i],
                 8 * std::abs(given.dy[i] * given.up[i]) * s * (1 + std::abs(given.gate[i])), "dgate", i);
  }
}

TEST(SwigluReference, GradientsAreThoseOfFiniteDifferences) {
  Case given = MakeCase(20);
  const SwigluRefGradients grad = SwigluBackwardRef(given.gate, given.up, given.dy);
  const auto check = [&](std::vector<double>& values, const std::vector<double>& expected) {
    for (size_t i = 0; i < values.size(); ++i) {
      constexpr double kStep = 1e-5;  // central: error of kStep^2 and 1e-16 / kStep
      const double value = values[i];
      values[i] = value + kStep;
      const double above = SwigluForwardRef(given.gate, given.up)[i];
      values[i] = value - kStep;
      const double below = SwigluForwardRef(given.gate, given.up)[i];
      values[i] = value;
      ASSERT_NEAR(expected[i], given.dy[i] * (above - below) / (2 * kStep), 1e-8) << i;
    }
  };
  check(given.gate, grad.gate);
  check(given.up, grad.up);
}

class Swiglu : public testing::TestWithParam<InstructionSet> {};

INSTANTIATE_TEST_SUITE_P(, Swiglu, testing::ValuesIn(SupportedInstructionSets()),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(Swiglu, IsTheReferenceForAllCounts) {
  for (const int64_t count : {0, 1, 3, 15, 16, 17, 100, 16383, 16384, 16385, 40000}) {
    SCOPED_TRACE(count);
    const Case given = MakeCase(count);
    ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
  }
}

TEST_P(Swiglu, GivesTheSameBitsOnAnyNumberOfThreads) {
  const Case given = MakeCase(50001);
  const Results one = RunKernel(given, GetParam(), SerialExecutor()),
                two = RunKernel(given, GetParam(), TestingThreads(2));
  EXPECT_EQ(one.y, two.y);
  EXPECT_EQ(one.dgate, two.dgate);
  EXPECT_EQ(one.dup, two.dup);
}

TEST_P(Swiglu, StandsGatesThatSaturate) {
  Case given = MakeCase(100);
  for (double& gate : given.gate) gate *= 64;
  ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
}

TEST_P(Swiglu, KeepsANanAtItsPlace) {
  Case given = MakeCase(40);
  given.gate[21] = NAN;
  const Results got = RunKernel(given, GetParam(), SerialExecutor());
  for (size_t i = 0; i < got.y.size(); ++i) {
    ASSERT_EQ(std::isnan(got.y[i]), i == 21) << i;
    ASSERT_EQ(std::isnan(got.dgate[i]), i == 21) << i;
    ASSERT_EQ(std::isnan(got.dup[i]), i == 21) << i;
  }
}

}  // namespace
}  // namespace retort
