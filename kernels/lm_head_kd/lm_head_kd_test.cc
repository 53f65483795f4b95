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
#include "kernels/base/workspace.h"
#include "kernels/lm_head_kd/lm_head_kd_ref.h"

namespace retort {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kEpsilon = std::numeric_limits<float>::epsilon();
using Loss = LmHeadKdLoss;

// Logits given as they are: hidden states are the rows of the identity and the heads' columns the logits, so
// each logit is one product with 1 and the head's gradient is the gradient by the logits, exactly. Infinite
// logits need a case of one row: 0 times infinity is NaN.
struct Case {
  int64_t rows, vocabulary;
  std::vector<float> student, teacher;  // [R, V]
  std::vector<int64_t> ids;             // in place of the teacher, unless empty
  Loss loss = Loss::kCrossEntropy;
  float temperature = 1;
};

Case MakeCase(int64_t rows, int64_t vocabulary) {
  std::mt19937 random(static_cast<unsigned>(rows + vocabulary));
  std::normal_distribution<float> normal(0, 3);
  Case made = {rows, vocabulary, {}, {}, {}};
  for (int64_t i = 0; i < rows * vocabulary; ++i) {
    made.student.push_back(normal(random));
    made.teacher.push_back(normal(random));
  }
  return made;
}

void LabelByTokens(Case& given) {
  for (int64_t row = 0; row < given.rows; ++row) given.ids.push_back(row * 5 % given.vocabulary);
}

std::vector<float> Transposed(const std::vector<float>& matrix, int64_t rows, int64_t columns) {
  std::vector<float> transposed(matrix.size());
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) transposed[j * rows + i] = matrix[i * columns + j];
  }
  return transposed;
}

void RunChunk(const LmHeadKdArgs& args, InstructionSet set, const Executor& executor) {
  const Workspace workspace(LmHeadKdWorkspaceFloats(args.shape));
  std::fill_n(workspace.data(), LmHeadKdWorkspaceFloats(args.shape), NAN);
  LmHeadKdChunk(args, workspace.data(), executor, set);
}

struct Results {
  std::vector<double> loss;
  std::vector<float> gradient;
};

// The gradient is that of the sum over rows.
Results RunKernel(const Case& given, InstructionSet set, const Executor& executor) {
  const int64_t rows = given.rows, vocabulary = given.vocabulary;
  std::vector<float> identity(rows * rows, 0.0f);
  for (int64_t row = 0; row < rows; ++row) identity[row * rows + row] = 1.0f;
  const std::vector<float> head = Transposed(given.student, rows, vocabulary),
                           teacher_head = Transposed(given.teacher, rows, vocabulary);
  std::vector<float> grad_head(vocabulary * rows, 0.0f);
  Results results = {std::vector<double>(rows, NAN), {}};
  const bool tokens = !given.ids.empty();
  LmHeadKdArgs args = {};
  args.shape = {rows, vocabulary, rows, tokens ? 0 : rows};
  args.student = {identity.data(), rows, 1, head.data(), rows};
  if (tokens) {
    args.ids_R = given.ids.data();
  } else {
    args.teacher = {identity.data(), rows, 1, teacher_head.data(), rows};
  }
  args.loss = given.loss;
  args.temperature = given.temperature;
  args.gradient_scale = 1 / given.temperature;
  args.loss_R = results.loss.data();
  args.grad_head = grad_head.data();
  args.grad_head_row = rows;
  RunChunk(args, set, executor);
  results.gradient = Transposed(grad_head, vocabulary, rows);
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
// Terms with an argument beyond -16 are below 1e-7 of the sum, so a sum errs by 2 + 16 + the roundings of 96
// additions in a lane, about 10 more, times eps; its logarithm by as much absolutely. The terms of the loss
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

// Runs of 96 rows: the third has nothing but excluded tokens.
TEST_P(LmHeadKd, TakesATeachersLogitOfMinusInfinityAsALabelOfZero) {
  for (const Loss loss : {Loss::kCrossEntropy, Loss::kDivergence}) {
    Case given = MakeCase(1, 300);
    given.loss = loss;
    given.teacher[17] = -kInfinity;
    std::fill_n(given.teacher.begin() + 192, 96, -kInfinity);
    ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
    given.student[17] = -kInfinity;  // excluded by both
    std::fill_n(given.student.begin() + 192, 96, -kInfinity);
    ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
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

// Runs whose logits all lie far below another's: their part of a sum underflows, and with it the label of a
// word that the student excludes.
TEST_P(LmHeadKd, StandsRunsThatCountForNothing) {
  Case given = MakeCase(1, 300);
  for (int64_t v = 100; v < 200; ++v) given.student[v] -= 300;
  for (int64_t v = 0; v < 96; ++v) given.teacher[v] -= 1000;
  given.student[5] = -kInfinity;
  for (const Loss loss : {Loss::kCrossEntropy, Loss::kDivergence}) {
    given.loss = loss;
    ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
  }
}

// Random hidden states and heads. Rows of all arrays lie further apart than they are wide, and hidden states
// in transposed order.
struct Heads {
  LmHeadKdShape shape;
  std::vector<float> hidden, head, teacher_hidden, teacher_head;  // [E, R + 1], [V, E + 3]
  std::vector<int64_t> ids;                                       // in place of the teacher, unless empty
};

constexpr int64_t kHeadGap = 3;

std::vector<float> RandomFloats(int64_t count, float deviation, std::mt19937& random) {
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(normal(random));
  return values;
}

Heads MakeHeads(const LmHeadKdShape& shape) {
  std::mt19937 random(static_cast<unsigned>(shape.rows * 7 + shape.vocabulary + shape.width));
  const auto hidden = [&](int64_t width) { return RandomFloats(width * (shape.rows + 1), 1, random); };
  const auto head = [&](int64_t width) {
    return RandomFloats(shape.vocabulary * (width + kHeadGap), 1 / std::sqrt(static_cast<float>(width)),
                        random);
  };
  Heads made = {shape, hidden(shape.width), head(shape.width), hidden(shape.teacher_width), {}, {}};
  if (shape.teacher_width > 0) made.teacher_head = head(shape.teacher_width);
  for (int64_t r = 0; r < shape.rows && shape.teacher_width == 0; ++r) {
    made.ids.push_back(r * 37 % shape.vocabulary);
  }
  return made;
}

struct Gradients {
  std::vector<double> loss;
  std::vector<float> hidden, head;  // [R, E + 3] and [V, E + 3]
};

constexpr float kHeadGradientBefore = 0.25f;

Gradients RunHeads(const Heads& given, InstructionSet set, const Executor& executor) {
  const LmHeadKdShape& shape = given.shape;
  const int64_t row = shape.width + kHeadGap;
  Gradients got = {std::vector<double>(shape.rows, NAN), std::vector<float>(shape.rows * row, 7.0f),
                   std::vector<float>(shape.vocabulary * row, kHeadGradientBefore)};
  LmHeadKdArgs args = {};
  args.shape = shape;
  args.student = {given.hidden.data(), 1, shape.rows + 1, given.head.data(), row};
  args.teacher = {given.teacher_hidden.data(), 1, shape.rows + 1, given.teacher_head.data(),
                  shape.teacher_width + kHeadGap};
  args.ids_R = given.ids.empty() ? nullptr : given.ids.data();
  args.loss = given.ids.empty() ? Loss::kDivergence : Loss::kCrossEntropy;
  args.temperature = 1;
  args.gradient_scale = 1;
  args.loss_R = got.loss.data();
  args.grad_hidden = got.hidden.data();
  args.grad_hidden_row = row;
  args.grad_head = got.head.data();
  args.grad_head_row = row;
  RunChunk(args, set, executor);
  return got;
}

// Row r of hidden times head^T.
std::vector<double> LogitsOf(const std::vector<float>& hidden, const std::vector<float>& head,
                             const LmHeadKdShape& shape, int64_t width, int64_t r) {
  std::vector<double> logits(shape.vocabulary);
  for (int64_t v = 0; v < shape.vocabulary; ++v) {
    for (int64_t k = 0; k < width; ++k) {
      logits[v] += static_cast<double>(hidden[k * (shape.rows + 1) + r]) * head[v * (width + kHeadGap) + k];
    }
  }
  return logits;
}

std::vector<double> Softmax(const std::vector<double>& logits) {
  std::vector<double> s = LmHeadKdRef(logits, 0, 1).gradient;
  s[0] += 1;
  return s;
}

struct HeadsReference {
  LmHeadKdRefRow row;
  std::vector<double> size;  // s + p, of which the gradient is the difference
};

HeadsReference Reference(const Heads& given, int64_t r) {
  const LmHeadKdShape& shape = given.shape;
  const std::vector<double> student = LogitsOf(given.hidden, given.head, shape, shape.width, r);
  std::vector<double> size = Softmax(student);
  if (!given.ids.empty()) {
    size[given.ids[r]] += 1;
    return {LmHeadKdRef(student, given.ids[r], 1), size};
  }
  const std::vector<double> teacher =
      LogitsOf(given.teacher_hidden, given.teacher_head, shape, shape.teacher_width, r);
  const std::vector<double> p = Softmax(teacher);
  for (size_t v = 0; v < p.size(); ++v) size[v] += p[v];
  return {LmHeadKdRef(student, teacher, Loss::kDivergence, 1), size};
}

// Logits have a deviation of 1 and lie within 6; a sum of E products errs by 4 sqrt(E) 6e-8 of its absolute
// terms, below 4 sqrt(E) 6e-8 3, so exponentials and with them s, p and the loss err by that, eps and what
// ExpectAsReference allows, relatively. Gradients are sums of n products with (s - p), which add the
// same again with n in place of E.
void ExpectAsReference(const Gradients& got, const Heads& given) {
  const LmHeadKdShape& shape = given.shape;
  const int64_t row = shape.width + kHeadGap;
  const auto rounding = [](int64_t n) { return 4 * 6e-8 * std::sqrt(static_cast<double>(n)); };
  const double logits = 3 * rounding(std::max(shape.width, shape.teacher_width)) + 30 * kEpsilon * 13;
  std::vector<double> head(shape.vocabulary * shape.width), head_scale(head.size());
  for (int64_t r = 0; r < shape.rows; ++r) {
    const auto [expected, size] = Reference(given, r);
    ASSERT_TRUE(std::abs(got.loss[r] - expected.loss) <= logits * (1 + expected.loss)) << r;
    std::vector<double> hidden(shape.width), hidden_scale(shape.width);
    for (int64_t v = 0; v < shape.vocabulary; ++v) {
      const double g = expected.gradient[v];
      for (int64_t k = 0; k < shape.width; ++k) {
        const double weight = given.head[v * row + k], state = given.hidden[k * (shape.rows + 1) + r];
        hidden[k] += g * weight;
        hidden_scale[k] += size[v] * std::abs(weight);
        head[v * shape.width + k] += g * state;
        head_scale[v * shape.width + k] += size[v] * std::abs(state);
      }
    }
    for (int64_t k = 0; k < shape.width; ++k) {
      ASSERT_TRUE(std::abs(got.hidden[r * row + k] - hidden[k]) <=
                  (logits + rounding(shape.vocabulary)) * hidden_scale[k])
          << "grad_hidden " << r << " " << k << ": " << got.hidden[r * row + k] << ", " << hidden[k];
    }
  }
  for (int64_t v = 0; v < shape.vocabulary; ++v) {
    for (int64_t k = 0; k < shape.width; ++k) {
      const int64_t i = v * shape.width + k;
      ASSERT_TRUE(std::abs(got.head[v * row + k] - kHeadGradientBefore - head[i]) <=
                  kEpsilon + (logits + rounding(shape.rows)) * head_scale[i])
          << "grad_head " << v << " " << k << ": " << got.head[v * row + k] << ", " << head[i];
    }
  }
}

// Tokens in panels of 64, blocks of 128; the vocabulary in runs of 96, 16 groups of them; widths in blocks of
// 192, panels of 64, vectors.
TEST_P(LmHeadKd, IsTheReferenceOverTheSeamsOfAllItsProducts) {
  for (const LmHeadKdShape& shape : std::vector<LmHeadKdShape>{{1, 7, 1, 2},
                                                               {5, 97, 16, 33},
                                                               {16, 1000, 70, 0},
                                                               {65, 96, 64, 64},
                                                               {70, 1700, 35, 80},
                                                               {130, 200, 200, 17},
                                                               {144, 193, 48, 0},
                                                               {3, 3300, 386, 193}}) {
    SCOPED_TRACE(testing::Message() << "R " << shape.rows << ", V " << shape.vocabulary << ", E "
                                    << shape.width << ", E' " << shape.teacher_width);
    const Heads given = MakeHeads(shape);
    ExpectAsReference(RunHeads(given, GetParam(), SerialExecutor()), given);
  }
}

TEST_P(LmHeadKd, LeavesWhatLiesBetweenRowsAlone) {
  const Heads given = MakeHeads({5, 97, 21, 0});
  const Gradients got = RunHeads(given, GetParam(), SerialExecutor());
  for (int64_t j = 21; j < 24; ++j) {
    for (int64_t r = 0; r < 5; ++r) EXPECT_EQ(got.hidden[r * 24 + j], 7.0f);
    for (int64_t v = 0; v < 97; ++v) EXPECT_EQ(got.head[v * 24 + j], kHeadGradientBefore);
  }
}

TEST_P(LmHeadKd, GivesTheSameBitsOnAnyNumberOfThreads) {
  const Heads given = MakeHeads({70, 3300, 35, 80});
  const Gradients one = RunHeads(given, GetParam(), SerialExecutor()),
                  three = RunHeads(given, GetParam(), TestingThreads(3));
  EXPECT_EQ(one.loss, three.loss);
  EXPECT_EQ(one.hidden, three.hidden);
  EXPECT_EQ(one.head, three.head);
}

// So a token's loss and gradient depend neither on the chunk it is in nor on its place there.
TEST_P(LmHeadKd, GivesATokenTheSameBitsAmongOthersAndAlone) {
  const Heads all = MakeHeads({70, 1700, 35, 80});
  Heads alone = all;
  alone.shape.rows = 1;
  const auto pick = [](const std::vector<float>& hidden, int64_t width) {
    std::vector<float> picked;
    for (int64_t k = 0; k < width; ++k) picked.insert(picked.end(), {hidden[k * 71 + 66], NAN});
    return picked;
  };
  alone.hidden = pick(all.hidden, 35);
  alone.teacher_hidden = pick(all.teacher_hidden, 80);
  const Gradients among = RunHeads(all, GetParam(), SerialExecutor()),
                  got = RunHeads(alone, GetParam(), SerialExecutor());
  EXPECT_EQ(got.loss[0], among.loss[66]);
  const auto begin = among.hidden.begin() + 66 * 38;
  EXPECT_EQ(got.hidden, std::vector<float>(begin, begin + 38));
}

TEST_P(LmHeadKd, KeepsANanInItsToken) {
  Heads given = MakeHeads({67, 200, 20, 20});
  const Gradients clean = RunHeads(given, GetParam(), SerialExecutor());
  given.hidden[7 * 68 + 33] = NAN;
  given.teacher_hidden[3 * 68 + 66] = NAN;
  const Gradients got = RunHeads(given, GetParam(), SerialExecutor());
  for (int64_t r = 0; r < 67; ++r) {
    const bool is_nan = r == 33 || r == 66;
    EXPECT_EQ(std::isnan(got.loss[r]), is_nan) << r;
    for (int64_t k = 0; k < 20; ++k) {
      const float value = got.hidden[r * 23 + k];
      ASSERT_TRUE(is_nan ? std::isnan(value) : value == clean.hidden[r * 23 + k]) << r << " " << k;
    }
  }
}

}  // namespace
}  // namespace retort
