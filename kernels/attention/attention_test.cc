#include "kernels/attention/attention.h"

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/attention/attention_ref.h"
#include "kernels/base/testing_threads.h"

namespace retort {
namespace {

struct Case {
  AttentionKernelShape shape;
  std::vector<double> q_BTHD, k_BTKD, v_BTKD;  // floats, held as doubles
};

Case MakeCase(const AttentionKernelShape& shape, float size = 1) {
  std::mt19937 random(shape.tokens * 31 + shape.width);
  std::normal_distribution<float> normal;
  Case given = {shape, {}, {}, {}};
  const int64_t rows = shape.batch * shape.tokens;
  for (int64_t i = 0; i < rows * shape.heads * shape.width; ++i)
    given.q_BTHD.push_back(size * normal(random));
  for (int64_t i = 0; i < rows * shape.key_heads * shape.width; ++i) {
    given.k_BTKD.push_back(normal(random));
    given.v_BTKD.push_back(normal(random));
  }
  return given;
}

struct Outputs {
  std::vector<float> y_BTHD, lse_BHT;
};

// q as [B, H, T, D], as rotary leaves it; k and v as [B, T, K, D] with `gap` floats after each token.
Outputs RunKernel(const Case& given, InstructionSet set, const Executor& executor, int64_t gap = 0) {
  const auto& [batch, tokens, heads, key_heads, width] = given.shape;
  const int64_t kv_token = key_heads * width + gap;
  std::vector<float> q(given.q_BTHD.size()), k(batch * tokens * kv_token, NAN), v = k;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t d = 0; d < width; ++d) {
          q[((b * heads + h) * tokens + t) * width + d] =
              static_cast<float>(given.q_BTHD[((b * tokens + t) * heads + h) * width + d]);
        }
      }
      for (int64_t i = 0; i < key_heads * width; ++i) {
        const int64_t from = (b * tokens + t) * key_heads * width + i, to = (b * tokens + t) * kv_token + i;
        k[to] = static_cast<float>(given.k_BTKD[from]);
        v[to] = static_cast<float>(given.v_BTKD[from]);
      }
    }
  }
  Outputs got = {std::vector<float>(q.size(), NAN), std::vector<float>(batch * heads * tokens, NAN)};
  const AttentionRows kv = {k.data(), tokens * kv_token, kv_token, width};
  CausalAttention({given.shape,
                   {q.data(), heads * tokens * width, width, tokens * width},
                   kv,
                   {v.data(), kv.batch_stride, kv.token_stride, kv.head_stride},
                   got.y_BTHD.data(),
                   got.lse_BHT.data()},
                  executor, set);
  return got;
}

class AttentionKernel : public testing::TestWithParam<InstructionSet> {};

INSTANTIATE_TEST_SUITE_P(, AttentionKernel, testing::ValuesIn(SupportedInstructionSets()),
                         [](const auto& info) { return std::string(Name(info.param)); });

// A score is off by sqrt(width) roundings of its products' sizes, some 2e-6 with scores of up to 40 and a
// relative 2e-7 of the exponential; a probability by as much relative to itself, and again by the sum.
constexpr double kRelative = 2e-5;

void ExpectReference(const Case& given, const Outputs& got) {
  const AttentionResult expected = AttentionRef(given.shape, given.q_BTHD, given.k_BTKD, given.v_BTKD);
  for (size_t i = 0; i < got.y_BTHD.size(); ++i) {
    ASSERT_TRUE(std::abs(got.y_BTHD[i] - expected.y_BTHD[i]) <= kRelative * expected.magnitudes_BTHD[i])
        << i << " of T = " << given.shape.tokens << ", D = " << given.shape.width << ": " << got.y_BTHD[i]
        << ", expected " << expected.y_BTHD[i];
  }
  for (size_t i = 0; i < got.lse_BHT.size(); ++i) ASSERT_NEAR(got.lse_BHT[i], expected.lse_BHT[i], 2e-5) << i;
}

TEST_P(AttentionKernel, IsTheReferenceForAllShapes) {
  const std::vector<AttentionKernelShape> shapes = {
      {1, 1, 1, 1, 16},  {2, 5, 2, 1, 32},   {1, 31, 9, 3, 64},  {1, 32, 3, 3, 64},  {1, 33, 4, 2, 48},
      {2, 63, 2, 2, 80}, {1, 64, 2, 1, 128}, {1, 65, 6, 2, 64},  {1, 97, 3, 1, 256}, {1, 160, 9, 3, 64},
      {1, 0, 2, 1, 16},  {0, 7, 2, 1, 16},   {2, 200, 4, 1, 112}};
  for (const AttentionKernelShape& shape : shapes) {
    const Case given = MakeCase(shape);
    ExpectReference(given, RunKernel(given, GetParam(), SerialExecutor(), /*gap=*/5));
  }
}

TEST_P(AttentionKernel, TakesScoresOfAnySize) {
  for (const float size : {0.0f, 10.0f}) {
    const Case given = MakeCase({1, 100, 2, 1, 64}, size);
    ExpectReference(given, RunKernel(given, GetParam(), SerialExecutor()));
  }
  const Case huge = MakeCase({1, 100, 2, 1, 64}, 1e6f);  // each row gives all to one token
  for (const float y : RunKernel(huge, GetParam(), SerialExecutor()).y_BTHD) ASSERT_TRUE(std::isfinite(y));
}

TEST_P(AttentionKernel, GivesARowTheSameBitsWithMoreTokensBehindIt) {
  const Case whole = MakeCase({1, 150, 2, 1, 64});
  Case part = whole;
  part.shape.tokens = 71;
  part.q_BTHD.resize(71 * 2 * 64);
  part.k_BTKD.resize(71 * 64);
  part.v_BTKD.resize(71 * 64);
  std::vector<float> y = RunKernel(whole, GetParam(), SerialExecutor()).y_BTHD;
  y.resize(71 * 2 * 64);
  EXPECT_EQ(RunKernel(part, GetParam(), SerialExecutor()).y_BTHD, y);
}

TEST_P(AttentionKernel, KeepsANaNFromEarlierTokens) {
  const Case clean = MakeCase({1, 100, 2, 1, 16});
  const std::vector<float> expected = RunKernel(clean, GetParam(), SerialExecutor()).y_BTHD;
  for (std::vector<double> Case::*const array : {&Case::q_BTHD, &Case::k_BTKD, &Case::v_BTKD}) {
    for (const int64_t token : {0, 37, 70, 99}) {
      Case given = clean;
      const size_t row = (given.*array).size() / 100;
      for (size_t i = 0; i < row; ++i) (given.*array)[token * row + i] = NAN;
      const std::vector<float> y = RunKernel(given, GetParam(), SerialExecutor()).y_BTHD;
      for (int64_t i = 0; i < token * 2 * 16; ++i)
        ASSERT_EQ(y[i], expected[i]) << "token " << token << ", " << i;
      for (int64_t i = 0; i < 2 * 16; ++i)
        ASSERT_TRUE(std::isnan(y[token * 2 * 16 + i])) << "token " << token;
    }
  }
}

TEST_P(AttentionKernel, GivesTheSameBitsOnAnyNumberOfThreads) {
  const Case given = MakeCase({2, 130, 6, 3, 64});
  const Outputs one = RunKernel(given, GetParam(), SerialExecutor()),
                two = RunKernel(given, GetParam(), TestingThreads(2));
  EXPECT_EQ(one.y_BTHD, two.y_BTHD);
  EXPECT_EQ(one.lse_BHT, two.lse_BHT);
}

TEST(AttentionReference, AveragesWhatATokenSees) {
  // Scores are 0, then 0 and ln 3: shares 1 / 4 and 3 / 4.
  const AttentionResult got = AttentionRef({1, 2, 1, 1, 1}, {0, std::log(3)}, {0, 1}, {8, 4});
  EXPECT_THAT(got.y_BTHD, testing::Pointwise(testing::DoubleNear(1e-12), std::vector<double>{8, 5}));
  EXPECT_THAT(got.lse_BHT,
              testing::Pointwise(testing::DoubleNear(1e-12), std::vector<double>{0, std::log(4)}));
}

}  // namespace
}  // namespace retort
