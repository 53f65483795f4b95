#include "kernels/lm_head_kd/lm_head_kd.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/base/testing_threads.h"
#include "kernels/lm_head_kd/lm_head_kd_ref.h"

namespace retort {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kEpsilon = std::numeric_limits<float>::epsilon();
using Loss = LmHeadKdLoss;

struct Case {
  int64_t rows, vocabulary;
  std::vector<float> student, teacher;  // [R, V]
  std::vector<int64_t> ids;             // in place of the teacher, unless empty
  std::vector<char> mask;               // empty: all rows
  Loss loss = Loss::kCrossEntropy;
  float temperature = 1;
};

Case MakeCase(int64_t rows, int64_t vocabulary) {
  std::mt19937 random(static_cast<unsigned>(rows + vocabulary));
  std::normal_distribution<float> normal(0, 3);
  Case made = {rows, vocabulary, {}, {}, {}, {}};
  for (int64_t i = 0; i < rows * vocabulary; ++i) {
    made.student.push_back(normal(random));
    made.teacher.push_back(normal(random));
  }
  return made;
}

void LabelByTokens(Case& given) {
  for (int64_t row = 0; row < given.rows; ++row) given.ids.push_back(row * 5 % given.vocabulary);
}

struct Results {
  std::vector<double> loss;
  std::vector<float> gradient;
};

// `gap` floats between rows. The gradient is that of the sum over rows.
Results RunKernel(const Case& given, InstructionSet set, const Executor& executor, int64_t gap = 0) {
  const int64_t stride = given.vocabulary + gap;
  std::vector<float> student(given.rows * stride, NAN), teacher(given.rows * stride, NAN);
  for (int64_t row = 0; row < given.rows; ++row) {
    std::copy_n(given.student.begin() + row * given.vocabulary, given.vocabulary,
                student.begin() + row * stride);
    std::copy_n(given.teacher.begin() + row * given.vocabulary, given.vocabulary,
                teacher.begin() + row * stride);
  }
  Results results = {std::vector<double>(given.rows, NAN), {}};
  const bool tokens = !given.ids.empty();
  LmHeadKdRows({given.rows,
                given.vocabulary,
                {student.data(), stride},
                {tokens ? nullptr : teacher.data(), stride},
                tokens ? given.ids.data() : nullptr,
                given.mask.empty() ? nullptr : reinterpret_cast<const bool*>(given.mask.data()),
                given.loss,
                given.temperature,
                1 / given.temperature,
                results.loss.data()},
               executor, set);
  for (int64_t row = 0; row < given.rows; ++row) {
    const auto begin = student.begin() + row * stride;
    results.gradient.insert(results.gradient.end(), begin, begin + given.vocabulary);
  }
  return results;
}

std::vector<double> Row(const std::vector<float>& values, int64_t row, int64_t vocabulary) {
  return {values.begin() + row * vocabulary, values.begin() + (row + 1) * vocabulary};
}

LmHeadKdRefRow Reference(const Case& given, int64_t row) {
  const std::vector<double> student = Row(given.student, row, given.vocabulary);
  if (!given.ids.empty()) return LmHeadKdRef(student, given.ids[row], given.temperature);
  return LmHeadKdRef(student, Row(given.teacher, row, given.vocabulary), given.loss, given.temperature);
}

// Rounding: an exponential errs by 2 eps of its own and by the rounding of its argument, eps |z - max| / tau.
// Terms with an argument beyond -16 are below 1e-7 of the sum, so a sum errs by 2 + 16 + the roundings of 64
// additions in a lane, about 8 more, times eps; its logarithm by as much absolutely. The terms of the loss
// are of the logits' spread / tau times that.
void ExpectAsReference(const Results& got, const Case& given) {
  for (int64_t row = 0; row < given.rows; ++row) {
    const LmHeadKdRefRow expected = Reference(given, row);
    double largest = 0, scale = 0;
    for (int64_t v = 0; v < given.vocabulary; ++v) {
      const double z = given.student[row * given.vocabulary + v];
      if (std::isfinite(z)) largest = std::max(largest, std::abs(z));
      const double teacher = given.teacher[row * given.vocabulary + v];
      if (std::isfinite(teacher)) largest = std::max(largest, std::abs(teacher));
    }
    scale = 30 * kEpsilon * (1 + 2 * largest / given.temperature);
    ASSERT_TRUE(std::abs(got.loss[row] - expected.loss) <= scale) << got.loss[row] << " " << expected.loss;
    for (int64_t v = 0; v < given.vocabulary; ++v) {
      const double value = got.gradient[row * given.vocabulary + v], wanted = expected.gradient[v];
      // (s - p) / tau errs by a part of s + p, which is at most |s - p| + 2 p.
      const double label = given.ids.empty() || given.ids[row] == v ? 1.0 : 0.0;
      ASSERT_TRUE(std::abs(value - wanted) <= scale / given.temperature * (std::abs(wanted) + 2 * label))
          << row << " " << v << ": " << value << ", expected " << wanted;
    }
  }
}

TEST(LmHeadKdReference, GradientsAreThoseOfFiniteDifferences) {
  std::vector<double> student = {0.3, -1.2, 2.0, 0.1, -0.4};
  const std::vector<double> teacher = {1.0, 0.5, -2.0, -INFINITY, 0.7};
  for (const double temperature : {0.5, 1.0, 2.0}) {
    const auto check = [&](const auto& loss_of) {
      const std::vector<double> gradient = loss_of().gradient;
      for (size_t v = 0; v < student.size(); ++v) {
        constexpr double kStep = 1e-5;  // central: error of kStep^2 and 1e-16 / kStep
        const double value = student[v];
        student[v] = value + kStep;
        const double above = loss_of().loss;
        student[v] = value - kStep;
        const double below = loss_of().loss;
        student[v] = value;
        ASSERT_NEAR(gradient[v], (above - below) / (2 * kStep), 1e-8) << temperature << " " << v;
      }
    };
    check([&] { return LmHeadKdRef(student, teacher, Loss::kCrossEntropy, temperature); });
    check([&] { return LmHeadKdRef(student, teacher, Loss::kDivergence, temperature); });
    check([&] { return LmHeadKdRef(student, 3, temperature); });
  }
}

class LmHeadKd : public testing::TestWithParam<InstructionSet> {};

INSTANTIATE_TEST_SUITE_P(, LmHeadKd, testing::ValuesIn(SupportedInstructionSets()),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(LmHeadKd, IsTheReferenceForAllVocabulariesAndTemperatures) {
  for (const int64_t vocabulary : {1, 3, 7, 16, 33, 1000, 1024, 1025, 51203}) {
    for (const float temperature : {0.5f, 1.0f, 2.0f}) {
      SCOPED_TRACE(testing::Message() << "V " << vocabulary << ", temperature " << temperature);
      Case given = MakeCase(2, vocabulary);
      given.temperature = temperature;
      ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
      given.loss = Loss::kDivergence;
      ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
      LabelByTokens(given);
      ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
    }
  }
}

TEST_P(LmHeadKd, TakesATeachersLogitOfMinusInfinityAsALabelOfZero) {
  for (const Loss loss : {Loss::kCrossEntropy, Loss::kDivergence}) {
    Case given = MakeCase(2, 100);
    given.loss = loss;
    given.teacher[17] = -kInfinity;
    given.teacher[100] = -kInfinity;
    ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
    given.student[17] = -kInfinity;  // excluded by both
    ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
  }
}

TEST_P(LmHeadKd, LeavesMaskedRowsOut) {
  Case given = MakeCase(3, 40);
  const Results all = RunKernel(given, GetParam(), SerialExecutor());
  given.mask = {1, 0, 1};
  given.student[40] = NAN;
  const Results masked = RunKernel(given, GetParam(), SerialExecutor());
  EXPECT_THAT(masked.loss, testing::ElementsAre(all.loss[0], 0.0, all.loss[2]));
  for (int64_t v = 0; v < 40; ++v) {
    EXPECT_EQ(masked.gradient[v], all.gradient[v]);
    EXPECT_EQ(masked.gradient[40 + v], 0);
    EXPECT_EQ(masked.gradient[80 + v], all.gradient[80 + v]);
  }
}

TEST_P(LmHeadKd, DivergenceFromOneselfIsExactlyZero) {
  Case given = MakeCase(2, 1000);
  given.teacher = given.student;
  given.loss = Loss::kDivergence;
  const Results got = RunKernel(given, GetParam(), SerialExecutor());
  EXPECT_THAT(got.loss, testing::Each(0.0));
  for (const float g : got.gradient) ASSERT_EQ(g, 0);
}

// Each gradient errs by 30 eps of s + p, which add up to 2.
TEST_P(LmHeadKd, GradientSumsToZeroOverTheVocabulary) {
  Case given = MakeCase(2, 3000);
  for (const bool tokens : {false, true}) {
    if (tokens) LabelByTokens(given);
    const Results got = RunKernel(given, GetParam(), SerialExecutor());
    for (int64_t row = 0; row < 2; ++row) {
      const std::vector<double> gradient = Row(got.gradient, row, 3000);
      double sum = 0;
      for (const double g : gradient) sum += g;
      EXPECT_NEAR(sum, 0.0, 60 * kEpsilon);
    }
  }
}

TEST_P(LmHeadKd, StandsLargeLogits) {
  Case given = MakeCase(2, 100);
  for (float& z : given.student) z *= 4096;
  for (float& z : given.teacher) z *= 4096;
  ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
}

TEST_P(LmHeadKd, KeepsANanInItsRow) {
  Case given = MakeCase(3, 40);
  given.student[40 + 7] = NAN;
  const Results got = RunKernel(given, GetParam(), SerialExecutor());
  EXPECT_TRUE(std::isnan(got.loss[1]));
  EXPECT_FALSE(std::isnan(got.loss[0] + got.loss[2]));
  for (int64_t v = 0; v < 120; ++v) ASSERT_EQ(std::isnan(got.gradient[v]), v >= 40 && v < 80) << v;
}

TEST_P(LmHeadKd, TakesRowsOfWiderArraysOnAnyNumberOfThreads) {
  const Case given = MakeCase(7, 2100);
  const Results one = RunKernel(given, GetParam(), SerialExecutor()),
                two = RunKernel(given, GetParam(), TestingThreads(2), /*gap=*/5);
  EXPECT_EQ(one.loss, two.loss);
  EXPECT_EQ(one.gradient, two.gradient);
}

}  // namespace
}  // namespace retort
