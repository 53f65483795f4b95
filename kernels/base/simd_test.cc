#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/base/simd_probe.h"

namespace retort {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Simd : public testing::TestWithParam<InstructionSet> {};

INSTANTIATE_TEST_SUITE_P(, Simd, testing::ValuesIn(SupportedInstructionSets()),
                         [](const auto& info) { return std::string(Name(info.param)); });

std::vector<float> Ramp(int64_t count, int period) {
  std::vector<float> values(count);
  const int64_t middle = period / 2;
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(i % period - middle);
  return values;
}

TEST_P(Simd, ExpIsWithinTwoRoundingsOfDoubles) {
  std::vector<float> x, y;
  for (float v = -87.33f; v < 88.72f; v += 0.0137f) x.push_back(v);
  y.resize(x.size());
  RETORT_SIMD_CHOOSE(GetParam(), ProbeExp)(x.size(), x.data(), y.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    ASSERT_LT(std::abs(y[i] - exact), 2e-7 * exact) << x[i];
  }
}

TEST_P(Simd, ExpAtItsEnds) {
  const std::vector<float> x = {-kInfinity, -1e30f, -88.0f, 0.0f, -0.0f, 89.5f, 1e30f, kInfinity, NAN};
  std::vector<float> y(x.size());
  RETORT_SIMD_CHOOSE(GetParam(), ProbeExp)(x.size(), x.data(), y.data());
  EXPECT_THAT(std::vector<float>(y.begin(), y.end() - 1),
              testing::ElementsAre(0, 0, 0, 1, 1, kInfinity, kInfinity, kInfinity));
  EXPECT_TRUE(std::isnan(y.back()));
}

TEST_P(Simd, SigmoidSaturates) {
  const std::vector<float> x = {-kInfinity, -200.0f, 0.0f, 200.0f, 1.0f};
  std::vector<float> y(x.size());
  RETORT_SIMD_CHOOSE(GetParam(), ProbeSigmoid)(x.size(), x.data(), y.data());
  EXPECT_THAT(y, testing::ElementsAre(0, 0, 0.5, 1, testing::FloatEq(0.73105858f)));
}

TEST_P(Simd, KeepFirstZeroesTheRest) {
  const std::vector<float> x(64, 1.0f);
  std::vector<float> y(64);
  for (const int64_t count : {-1, 0, 1, 4, 17, 64, 99}) {
    RETORT_SIMD_CHOOSE(GetParam(), ProbeKeepFirst)(count, x.data(), y.data());
    for (int64_t i = 0; i < 64; ++i) ASSERT_EQ(y[i], i < count ? 1.0f : 0.0f) << count << " " << i;
  }
}

TEST_P(Simd, SumsOfLanesAreInPlace) {
  std::vector<float> terms(4 * 4 * 16), sums(16);
  for (int64_t i = 0; i < 4 * 4 * 16; ++i) terms[i] = static_cast<float>(i % 16 + 1000 * (i / 16));
  RETORT_SIMD_CHOOSE(GetParam(), ProbeSumsOfLanes)(terms.data(), sums.data());
  for (int64_t i = 0; i < 16; ++i) EXPECT_EQ(sums[i], 120.0f + 16000.0f * static_cast<float>(i)) << i;
}

TEST_P(Simd, RepeatsRowsAndColumns) {
  const float rows[] = {1, 2, 3, 4}, columns[] = {5, 6, 7, 8};
  std::vector<float> to(16);
  RETORT_SIMD_CHOOSE(GetParam(), ProbeRepeats)(rows, columns, to.data());
  EXPECT_THAT(to, testing::ElementsAre(15, 16, 17, 18, 25, 26, 27, 28, 35, 36, 37, 38, 45, 46, 47, 48));
}

// Small whole numbers: products and sums are exact, so any order of summing gives the same.
TEST_P(Simd, MultiplyAddsTheProductForAllShapes) {
  for (const bool transpose : {false, true}) {
    for (const int64_t m : {1, 2, 3, 5, 6, 7, 16, 33}) {
      for (const int64_t n : {16, 32, 48, 64, 80, 112}) {
        const int64_t k = 5;
        const std::vector<float> a = Ramp(m * k, 7), b = Ramp(k * n, 11);
        std::vector<float> c(m * n, 3.0f);
        RETORT_SIMD_CHOOSE(GetParam(), ProbeMultiply)(m, n, k, transpose, a.data(), b.data(), c.data());
        for (int64_t i = 0; i < m; ++i) {
          for (int64_t j = 0; j < n; ++j) {
            float expected = 3.0f;
            for (int64_t l = 0; l < k; ++l) {
              expected += (transpose ? a[l * m + i] : a[i * k + l]) * b[l * n + j];
            }
            ASSERT_EQ(c[i * n + j], expected) << m << " " << n << " at " << i << " " << j;
          }
        }
      }
    }
  }
}

TEST_P(Simd, TransposeSwapsRowsAndColumns) {
  const std::vector<float> from = Ramp(32 * 48, 32 * 48);
  std::vector<float> to(32 * 48);
  RETORT_SIMD_CHOOSE(GetParam(), ProbeTranspose)(32, 48, from.data(), to.data());
  for (int64_t i = 0; i < 32; ++i) {
    for (int64_t j = 0; j < 48; ++j) ASSERT_EQ(to[j * 32 + i], from[i * 48 + j]);
  }
}

}  // namespace
}  // namespace retort
