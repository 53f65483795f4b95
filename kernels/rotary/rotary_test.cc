#include "kernels/rotary/rotary.h"

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/base/testing_threads.h"
#include "kernels/rotary/rotary_ref.h"

namespace retort {
namespace {

struct Case {
  RotaryShape shape;
  std::vector<double> x_BHTD, cos, sin;  // floats, held as doubles
};

Case MakeCase(const RotaryShape& shape) {
  std::mt19937 random(shape.tokens * 31 + shape.width);
  std::normal_distribution<float> normal;
  Case given = {shape, {}, {}, {}};
  for (int64_t i = 0; i < shape.batch * shape.heads * shape.tokens * shape.width; ++i) {
    given.x_BHTD.push_back(normal(random));
  }
  for (int64_t i = 0; i < shape.tokens * shape.width / 2; ++i) {
    const float angle = 3 * normal(random);
    given.cos.push_back(std::cos(angle));
    given.sin.push_back(std::sin(angle));
  }
  return given;
}

// x as [B, T, H, D] with `gap` floats after each head and as many after each token, as heads lie in a
// projection's output.
std::vector<double> RunKernel(const Case& given, bool back, InstructionSet set, const Executor& executor,
                              int64_t gap = 0) {
  const auto& [batch, heads, tokens, width] = given.shape;
  const int64_t head = width + gap, token = heads * head + gap;
  std::vector<float> x(batch * tokens * token, NAN), y(given.x_BHTD.size(), NAN);
  for (int64_t b = 0, from = 0; b < batch; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t i = 0; i < width; ++i) {
          x[(b * tokens + t) * token + h * head + i] = static_cast<float>(given.x_BHTD[from++]);
        }
      }
    }
  }
  const std::vector<float> cos(given.cos.begin(), given.cos.end()), sin(given.sin.begin(), given.sin.end());
  Rotary({given.shape, {x.data(), tokens * token, head, token}, cos.data(), sin.data(), back, y.data()},
         executor, set);
  return {y.begin(), y.end()};
}

class RotaryKernel : public testing::TestWithParam<InstructionSet> {};

INSTANTIATE_TEST_SUITE_P(, RotaryKernel, testing::ValuesIn(SupportedInstructionSets()),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(RotaryKernel, IsTheReferenceForAllShapes) {
  const std::vector<RotaryShape> shapes = {{1, 1, 1, 2},   {2, 3, 5, 8},   {1, 9, 60, 64},  {2, 2, 7, 6},
                                           {1, 2, 0, 16},  {0, 2, 3, 16},  {3, 1, 17, 80},  {1, 4, 33, 128},
                                           {2, 9, 28, 64}, {2, 9, 29, 64}, {1, 1, 2, 40000}};
  for (const RotaryShape& shape : shapes) {
    const Case given = MakeCase(shape);
    for (const bool back : {false, true}) {
      const std::vector<double> got = RunKernel(given, back, GetParam(), SerialExecutor(), /*gap=*/3),
                                expected = RotaryRef(shape, given.x_BHTD, given.cos, given.sin, back);
      for (size_t i = 0; i < got.size(); ++i) {
        // Two products and a sum, of numbers below 6.
        ASSERT_TRUE(std::abs(got[i] - expected[i]) <= 12 * std::numeric_limits<float>::epsilon())
            << i << " of " << shape.tokens << " tokens of " << shape.width << ": " << got[i] << ", expected "
            << expected[i];
      }
    }
  }
}

TEST_P(RotaryKernel, BackUndoesIt) {
  Case given = MakeCase({1, 2, 9, 20});
  const std::vector<double> x = given.x_BHTD;
  given.x_BHTD = RunKernel(given, /*back=*/false, GetParam(), SerialExecutor());
  EXPECT_THAT(RunKernel(given, /*back=*/true, GetParam(), SerialExecutor()),
              testing::Pointwise(testing::DoubleNear(4e-6), x));
}

TEST_P(RotaryKernel, GivesTheSameBitsOnAnyNumberOfThreads) {
  const Case given = MakeCase({2, 9, 100, 64});
  EXPECT_EQ(RunKernel(given, false, GetParam(), SerialExecutor()),
            RunKernel(given, false, GetParam(), TestingThreads(2)));
}

TEST(RotaryReference, TurnsAQuarterAndBack) {
  const RotaryShape shape = {1, 1, 1, 4};
  const std::vector<double> x = {1, 2, 3, 4}, cos = {0, 1}, sin = {1, 0};
  EXPECT_THAT(RotaryRef(shape, x, cos, sin, false), testing::ElementsAre(-3, 2, 1, 4));
  EXPECT_THAT(RotaryRef(shape, x, cos, sin, true), testing::ElementsAre(3, 2, -1, 4));
}

// sum(y dy) is linear in x, so a difference quotient of any step is its gradient.
TEST(RotaryReference, BackIsTheGradientOfFiniteDifferences) {
  Case given = MakeCase({1, 2, 3, 4});
  const std::vector<double> dy = MakeCase({1, 2, 3, 4}).x_BHTD,
                            dx = RotaryRef(given.shape, dy, given.cos, given.sin, true);
  const auto sum = [&] {
    const std::vector<double> y = RotaryRef(given.shape, given.x_BHTD, given.cos, given.sin, false);
    double total = 0;
    for (size_t i = 0; i < y.size(); ++i) total += y[i] * dy[i];
    return total;
  };
  for (size_t i = 0; i < dx.size(); ++i) {
    const double below = sum();
    given.x_BHTD[i] += 1;
    ASSERT_NEAR(dx[i], sum() - below, 1e-12) << i;
    given.x_BHTD[i] -= 1;
  }
}

}  // namespace
}  // namespace retort
