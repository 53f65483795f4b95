#include "kernels/conv1d/conv1d.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/base/testing_threads.h"
#include "kernels/conv1d/conv1d_ref.h"

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

std::vector<float> Floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

std::vector<double> Magnitudes(std::vector<double> values) {
  for (double& value : values) value = std::abs(value);
  return values;
}

struct Case {
  Conv1dRefInputs inputs;
  std::vector<double> dy, dfinal;
};

Case MakeCase(const Conv1dShape& shape, bool bias, bool initial) {
  std::mt19937 random(shape.tokens * 31 + shape.channels * 7 + shape.taps);
  const int64_t state = shape.batch * (shape.taps - 1) * shape.channels;
  const int64_t elements = shape.batch * shape.tokens * shape.channels;
  Case made;
  made.inputs = {shape, Normal(random, elements), Normal(random, shape.channels * shape.taps), {}, {}};
  if (bias) made.inputs.bias_C = Normal(random, shape.channels);
  if (initial) made.inputs.initial_BKC = Normal(random, state);
  made.dy = Normal(random, elements);
  if (initial) made.dfinal = Normal(random, state);
  return made;
}

// The kernel's results in the reference's types, from rows `gap` floats apart.
struct Results {
  Conv1dRefOutputs out;
  Conv1dRefGradients grad;
};

const float* OrNull(const std::vector<float>& values) { return values.empty() ? nullptr : values.data(); }

// Rows as part of wider ones, as a slice of a projection's output is.
std::vector<float> Widened(const std::vector<double>& rows, int64_t channels, int64_t gap) {
  std::vector<float> wide;
  for (size_t i = 0; i < rows.size(); ++i) {
    wide.push_back(static_cast<float>(rows[i]));
    if ((i + 1) % channels == 0) wide.insert(wide.end(), gap, NAN);
  }
  return wide;
}

// Their columns; what lies between is as it was.
std::vector<float> Narrowed(const std::vector<float>& wide, int64_t channels, int64_t gap) {
  std::vector<float> rows;
  for (size_t i = 0; i < wide.size(); ++i) {
    if (static_cast<int64_t>(i) % (channels + gap) < channels) {
      rows.push_back(wide[i]);
    } else {
      EXPECT_TRUE(std::isnan(wide[i])) << i;
    }
  }
  return rows;
}

Results RunKernel(const Case& given, InstructionSet set, const Executor& executor, int64_t gap = 0) {
  const Conv1dShape& shape = given.inputs.shape;
  const int64_t row = shape.channels + gap;
  const std::vector<float> x = Widened(given.inputs.x_BTC, shape.channels, gap),
                           dy = Widened(given.dy, shape.channels, gap),
                           weight = Floats(given.inputs.weight_CK), bias = Floats(given.inputs.bias_C),
                           initial = Floats(given.inputs.initial_BKC), dfinal = Floats(given.dfinal);
  std::vector<float> y(given.inputs.x_BTC.size(), NAN),
      final_state(shape.batch * (shape.taps - 1) * shape.channels, NAN), dx(x.size(), NAN),
      dweight(weight.size(), NAN), dbias(shape.channels, NAN), dinitial(initial.size(), NAN);
  const Conv1dRows x_rows = {x.data(), shape.tokens * row, row},
                   dy_rows = {dy.data(), shape.tokens * row, row};
  Conv1dForward({shape, x_rows, weight.data(), OrNull(bias), OrNull(initial), y.data(), final_state.data()},
                executor, set);
  Conv1dBackward({shape,
                  x_rows,
                  weight.data(),
                  OrNull(bias),
                  OrNull(initial),
                  dy_rows,
                  OrNull(dfinal),
                  {dx.data(), shape.tokens * row, row},
                  dweight.data(),
                  dbias.data(),
                  dinitial.empty() ? nullptr : dinitial.data()},
                 executor, set);
  const auto doubles = [](const std::vector<float>& v) { return std::vector<double>(v.begin(), v.end()); };
  return {{doubles(y), doubles(final_state)},
          {doubles(Narrowed(dx, shape.channels, gap)), doubles(dweight), doubles(dbias), doubles(dinitial)}};
}

Results RunReference(const Case& given) {
  return {Conv1dForwardRef(given.inputs), Conv1dBackwardRef(given.inputs, given.dy, given.dfinal)};
}

void ExpectWithin(const std::vector<double>& got, const std::vector<double>& expected,
                  const std::vector<double>& bound, double factor, const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    // Not EXPECT_NEAR, which lets no NaN fail.
    ASSERT_TRUE(std::abs(got[i] - expected[i]) <= factor * kEpsilon * bound[i])
        << what << "[" << i << "]: " << got[i] << ", expected " << expected[i];
  }
}

// Rounding: u errs by (K + 1) eps |u|_1, where |u|_1 is the convolution of absolute values; SiLU's slope is
// below 1.1 and its curvature below 0.5, and the fast sigmoid errs by 4 eps. So y errs by about (K + 8) eps
// |u|_1 and g by as much times |dy|, which dx sums over K tokens and dweight over n = B T, where roundings
// add up like sqrt(n).
void ExpectAsReference(const Results& got, const Case& given) {
  const Conv1dShape& shape = given.inputs.shape;
  Case magnitudes = given;
  magnitudes.inputs = {shape, Magnitudes(given.inputs.x_BTC), Magnitudes(given.inputs.weight_CK),
                       Magnitudes(given.inputs.bias_C), Magnitudes(given.inputs.initial_BKC)};
  magnitudes.inputs.shape.silu = false;
  magnitudes.dy = Magnitudes(given.dy);
  magnitudes.dfinal = Magnitudes(given.dfinal);
  const Results expected = RunReference(given), bound = RunReference(magnitudes);
  const double largest_u =
      bound.out.y_BTC.empty() ? 0 : *std::max_element(bound.out.y_BTC.begin(), bound.out.y_BTC.end());
  const double one = shape.taps + 8.0, gradient = one * (1 + (shape.silu ? largest_u : 0)),
               summed = gradient + 4 * std::sqrt(shape.batch * shape.tokens);
  ExpectWithin(got.out.y_BTC, expected.out.y_BTC, bound.out.y_BTC, one, "y");
  EXPECT_EQ(got.out.final_state_BKC, expected.out.final_state_BKC);
  ExpectWithin(got.grad.x_BTC, expected.grad.x_BTC, bound.grad.x_BTC, gradient, "dx");
  ExpectWithin(got.grad.initial_BKC, expected.grad.initial_BKC, bound.grad.initial_BKC, gradient, "dinitial");
  ExpectWithin(got.grad.weight_CK, expected.grad.weight_CK, bound.grad.weight_CK, summed, "dweight");
  ExpectWithin(got.grad.bias_C, expected.grad.bias_C, bound.grad.bias_C, summed, "dbias");
}

double WeightedSum(const Conv1dRefInputs& inputs, const Case& weights) {
  const Conv1dRefOutputs out = Conv1dForwardRef(inputs);
  double sum = 0;
  for (size_t i = 0; i < out.y_BTC.size(); ++i) sum += out.y_BTC[i] * weights.dy[i];
  for (size_t i = 0; i < weights.dfinal.size(); ++i) sum += out.final_state_BKC[i] * weights.dfinal[i];
  return sum;
}

TEST(Conv1dReference, GradientsAreThoseOfFiniteDifferences) {
  for (const bool silu : {false, true}) {
    for (const int64_t tokens : {1, 2, 7}) {
      Case given = MakeCase({2, tokens, 3, 4, silu}, /*bias=*/true, /*initial=*/true);
      const Conv1dRefGradients grad = Conv1dBackwardRef(given.inputs, given.dy, given.dfinal);
      const auto check = [&](std::vector<double>& values, const std::vector<double>& expected) {
        for (size_t i = 0; i < values.size(); ++i) {
          constexpr double kStep = 1e-5;  // central: error of kStep^2 and 1e-16 / kStep
          const double value = values[i];
          values[i] = value + kStep;
          const double above = WeightedSum(given.inputs, given);
          values[i] = value - kStep;
          const double below = WeightedSum(given.inputs, given);
          values[i] = value;
          ASSERT_NEAR(expected[i], (above - below) / (2 * kStep), 1e-8) << silu << " " << tokens << " " << i;
        }
      };
      check(given.inputs.x_BTC, grad.x_BTC);
      check(given.inputs.weight_CK, grad.weight_CK);
      check(given.inputs.bias_C, grad.bias_C);
      check(given.inputs.initial_BKC, grad.initial_BKC);
    }
  }
}

class Conv1d : public testing::TestWithParam<InstructionSet> {};

INSTANTIATE_TEST_SUITE_P(, Conv1d, testing::ValuesIn(SupportedInstructionSets()),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(Conv1d, IsTheReferenceForAllLengths) {
  for (const int64_t tokens : {0, 1, 2, 3, 4, 5, 15, 16, 17, 63, 127, 128, 129, 131, 200, 257}) {
    for (const bool silu : {false, true}) {
      SCOPED_TRACE(tokens);
      const Case given = MakeCase({2, tokens, 19, 4, silu}, /*bias=*/true, /*initial=*/true);
      ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
    }
  }
}

TEST_P(Conv1d, IsTheReferenceForAllTaps) {
  for (int64_t taps = kConv1dMinTaps; taps <= kConv1dMaxTaps; ++taps) {
    for (const int64_t tokens : {1, 9, 130, 135}) {
      SCOPED_TRACE(testing::Message() << taps << " taps, " << tokens << " tokens");
      const Case given = MakeCase({1, tokens, 21, taps, true}, /*bias=*/true, /*initial=*/true);
      ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
    }
  }
}

TEST_P(Conv1d, IsTheReferenceForAllWidths) {
  for (const int64_t channels : {1, 7, 16, 64, 255, 256, 257, 300}) {
    SCOPED_TRACE(channels);
    const Case given = MakeCase({3, 33, channels, 4, true}, /*bias=*/true, /*initial=*/false);
    ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
  }
}

TEST_P(Conv1d, NeedsNeitherBiasNorInitialState) {
  const Case given = MakeCase({2, 37, 40, 4, true}, /*bias=*/false, /*initial=*/false);
  ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
}

TEST_P(Conv1d, ReadsRowsOfWiderArrays) {
  const Case given = MakeCase({2, 37, 40, 4, true}, /*bias=*/true, /*initial=*/true);
  ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor(), /*gap=*/5), given);
}

TEST_P(Conv1d, GivesTheSameBitsOnAnyNumberOfThreads) {
  const Case given = MakeCase({2, 300, 300, 4, true}, /*bias=*/true, /*initial=*/true);
  const Results one = RunKernel(given, GetParam(), SerialExecutor()),
                two = RunKernel(given, GetParam(), TestingThreads(2));
  EXPECT_EQ(one.out.y_BTC, two.out.y_BTC);
  EXPECT_EQ(one.grad.x_BTC, two.grad.x_BTC);
  EXPECT_EQ(one.grad.initial_BKC, two.grad.initial_BKC);
  EXPECT_EQ(one.grad.weight_CK, two.grad.weight_CK);
  EXPECT_EQ(one.grad.bias_C, two.grad.bias_C);
}

// The same bits: each token's sums are made in the same order wherever the sequence is cut.
TEST_P(Conv1d, ContinuesFromTheStateOfAFirstPart) {
  const Case whole = MakeCase({1, 150, 20, 4, true}, /*bias=*/true, /*initial=*/true);
  const Results expected = RunKernel(whole, GetParam(), SerialExecutor());
  for (const int64_t cut : {1, 2, 3, 70, 128}) {
    Case first = whole, second = whole;
    first.inputs.shape.tokens = cut;
    first.inputs.x_BTC.resize(cut * 20);
    second.inputs.shape.tokens = 150 - cut;
    second.inputs.x_BTC.erase(second.inputs.x_BTC.begin(), second.inputs.x_BTC.begin() + cut * 20);
    const Results begun = RunKernel(first, GetParam(), SerialExecutor());
    second.inputs.initial_BKC = begun.out.final_state_BKC;
    const Results ended = RunKernel(second, GetParam(), SerialExecutor());
    std::vector<double> joined = begun.out.y_BTC;
    joined.insert(joined.end(), ended.out.y_BTC.begin(), ended.out.y_BTC.end());
    EXPECT_EQ(joined, expected.out.y_BTC) << cut;
    EXPECT_EQ(ended.out.final_state_BKC, expected.out.final_state_BKC) << cut;
  }
}

TEST_P(Conv1d, KeepsANanFromEarlierTokensAndOtherChannels) {
  Case given = MakeCase({1, 40, 20, 4, true}, /*bias=*/true, /*initial=*/false);
  const std::vector<double> clean = RunKernel(given, GetParam(), SerialExecutor()).out.y_BTC;
  given.inputs.x_BTC[13 * 20 + 6] = NAN;
  const std::vector<double> y = RunKernel(given, GetParam(), SerialExecutor()).out.y_BTC;
  for (int64_t t = 0; t < 40; ++t) {
    for (int64_t c = 0; c < 20; ++c) {
      const bool reached = c == 6 && t >= 13 && t < 17;
      ASSERT_EQ(std::isnan(y[t * 20 + c]), reached) << t << " " << c;
      ASSERT_TRUE(reached || y[t * 20 + c] == clean[t * 20 + c]) << t << " " << c;
    }
  }
}

TEST_P(Conv1d, WithOneTapSetIsTheIdentityOrADelay) {
  Case given = MakeCase({1, 20, 3, 4, false}, /*bias=*/false, /*initial=*/false);
  given.inputs.weight_CK = {0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0};  // channels delayed by 0, 1 and 3 tokens
  const std::vector<double> y = RunKernel(given, GetParam(), SerialExecutor()).out.y_BTC;
  const int64_t delays[] = {0, 1, 3};
  for (int64_t t = 0; t < 20; ++t) {
    for (int64_t c = 0; c < 3; ++c) {
      const int64_t from = t - delays[c];
      ASSERT_EQ(y[t * 3 + c], from < 0 ? 0.0 : given.inputs.x_BTC[from * 3 + c]);
    }
  }
}

TEST_P(Conv1d, SaturatesForLargeInputs) {
  Case given = MakeCase({1, 8, 5, 4, true}, /*bias=*/true, /*initial=*/false);
  for (double& x : given.inputs.x_BTC) x *= 8192;  // exact in float32
  ExpectAsReference(RunKernel(given, GetParam(), SerialExecutor()), given);
}

}  // namespace
}  // namespace retort
