#include "kernels/step_sizes/step_sizes.h"

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/testing_threads.h"
#include "kernels/step_sizes/step_sizes_ref.h"

namespace retort {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();
constexpr double kFlushed = 1e-36;  // exponentials below 1.2e-38 are 0, times rates and gradients

struct Case {
  int64_t rows, heads;
  std::vector<double> raw, bias, a_log, ddt, dlog_decay;  // floats, held as doubles
};

Case MakeCase(int64_t rows, int64_t heads) {
  std::mt19937 random(rows * 100 + heads);
  std::normal_distribution<float> normal;
  Case given = {rows, heads, {}, {}, {}, {}, {}};
  const auto fill = [&](std::vector<double>& values, int64_t count, float scale) {
    for (int64_t i = 0; i < count; ++i) values.push_back(scale * normal(random));
  };
  fill(given.raw, rows * heads, 3.0f);
  fill(given.bias, heads, 1.0f);
  fill(given.a_log, heads, 1.0f);
  fill(given.ddt, rows * heads, 1.0f);
  fill(given.dlog_decay, rows * heads, 1.0f);
  return given;
}

struct Results {
  std::vector<float> dt, log_decay, draw, dbias, da_log;
};

// raw and draw are columns of wider rows, as of a projection's output.
Results RunKernel(const Case& given, InstructionSet set, const Executor& executor) {
  const auto floats = [](const std::vector<double>& v) { return std::vector<float>(v.begin(), v.end()); };
  const int64_t rows = given.rows, heads = given.heads, row = heads + 3;
  const std::vector<float> bias = floats(given.bias), a_log = floats(given.a_log), ddt = floats(given.ddt),
                           dlog_decay = floats(given.dlog_decay);
  std::vector<float> raw(rows * row, NAN), draw(rows * row, NAN);
  for (int64_t i = 0; i < rows * heads; ++i) raw[i / heads * row + i % heads] = given.raw[i];
  Results got = {std::vector<float>(rows * heads, NAN),
                 std::vector<float>(rows * heads, NAN),
                 {},
                 std::vector<float>(heads, NAN),
                 std::vector<float>(heads, NAN)};
  StepSizesForward(
      {rows, heads, raw.data(), row, bias.data(), a_log.data(), got.dt.data(), got.log_decay.data()},
      executor, set);
  StepSizesBackward({rows, heads, raw.data(), row, bias.data(), a_log.data(), got.log_decay.data(),
                     ddt.data(), dlog_decay.data(), draw.data(), row, got.dbias.data(), got.da_log.data()},
                    executor, set);
  for (int64_t i = 0; i < rows * row; ++i) {
    if (i % row < heads) {
      got.draw.push_back(draw[i]);
    } else {
      EXPECT_TRUE(std::isnan(draw[i])) << i;
    }
  }
  return got;
}

// Exp and the sigmoid err by 4 eps, and so does log(1 + e), whose slope is below 1; raw + bias is rounded
// before both. Sums over rows: roundings add up like the square root of their number.
TEST(StepSizesReference, GradientsAreThoseOfFiniteDifferences) {
  Case given = MakeCase(5, 3);
  const StepSizesRefGradients grad =
      StepSizesBackwardRef(given.raw, given.bias, given.a_log, given.ddt, given.dlog_decay);
  const auto loss = [&] {
    const StepSizesRef forward = StepSizesForwardRef(given.raw, given.bias, given.a_log);
    double sum = 0;
    for (size_t i = 0; i < given.raw.size(); ++i) {
      sum += given.ddt[i] * forward.dt[i] + given.dlog_decay[i] * forward.log_decay[i];
    }
    return sum;
  };
  const auto check = [&](std::vector<double>& values, const std::vector<double>& expected) {
    for (size_t i = 0; i < values.size(); ++i) {
      constexpr double kStep = 1e-5;  // central: error of kStep^2 and 1e-15 / kStep
      const double value = values[i];
      values[i] = value + kStep;
      const double above = loss();
      values[i] = value - kStep;
      const double below = loss();
      values[i] = value;
      ASSERT_NEAR(expected[i], (above - below) / (2 * kStep), 1e-7) << i;
    }
  };
  check(given.raw, grad.raw_RH);
  check(given.bias, grad.bias_H);
  check(given.a_log, grad.a_log_H);
}

class StepSizes : public testing::TestWithParam<InstructionSet> {
 protected:
  void ExpectAsReference(const Case& given, const Results& got) {
    const StepSizesRef forward = StepSizesForwardRef(given.raw, given.bias, given.a_log);
    const StepSizesRefGradients grad =
        StepSizesBackwardRef(given.raw, given.bias, given.a_log, given.ddt, given.dlog_decay);
    std::vector<double> dbias_size(given.heads), da_log_size(given.heads);
    for (size_t i = 0; i < given.raw.size(); ++i) {
      const size_t h = i % given.heads;
      const double s = 1 / (1 + std::exp(-(given.raw[i] + given.bias[h])));
      const double v_error = std::abs(given.raw[i]) + std::abs(given.bias[h]);  // of v, in eps
      const double rate = std::exp(given.a_log[h]);
      const double dt_bound = (8 * forward.dt[i] + s * v_error) * kEpsilon + kFlushed;
      ASSERT_LE(std::abs(got.dt[i] - forward.dt[i]), dt_bound) << i;
      ASSERT_LE(std::abs(got.log_decay[i] - forward.log_decay[i]),
                rate * (dt_bound + 2 * forward.dt[i] * kEpsilon))
          << i;
      const double size = (std::abs(given.ddt[i]) + rate * std::abs(given.dlog_decay[i])) * s * (8 + v_error);
      ASSERT_LE(std::abs(got.draw[i] - grad.raw_RH[i]), size * kEpsilon + kFlushed) << i;
      dbias_size[h] += size;
      da_log_size[h] += std::abs(given.dlog_decay[i] * forward.log_decay[i]) * (8 + v_error);
    }
    const double growth = (1 + std::sqrt(given.rows) / 8) * kEpsilon;
    for (int64_t h = 0; h < given.heads; ++h) {
      ASSERT_LE(std::abs(got.dbias[h] - grad.bias_H[h]), dbias_size[h] * growth) << h;
      ASSERT_LE(std::abs(got.da_log[h] - grad.a_log_H[h]), da_log_size[h] * growth) << h;
    }
  }
};

INSTANTIATE_TEST_SUITE_P(, StepSizes, testing::ValuesIn(SupportedInstructionSets()),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(StepSizes, IsTheReferenceForAllShapes) {
  for (const int64_t heads : {1, 9, 16, 33}) {
    for (const int64_t rows : {0, 1, 7, 512, 4000}) {
      SCOPED_TRACE(std::to_string(rows) + " rows of " + std::to_string(heads));
      const Case given = MakeCase(rows, heads);
      ExpectAsReference(given, RunKernel(given, GetParam(), SerialExecutor()));
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(StepSizes, StandsBothEndsOfSoftplus) {
  Case given = MakeCase(4, 8);
  for (size_t i = 0; i < given.raw.size(); ++i) {
    given.raw[i] = static_cast<float>(given.raw[i] * 8) + (i % 2 == 0 ? 70 : -70);
  }
  ExpectAsReference(given, RunKernel(given, GetParam(), SerialExecutor()));
}

TEST_P(StepSizes, GivesTheSameBitsOnAnyNumberOfThreads) {
  const Case given = MakeCase(6000, 9);
  const Results one = RunKernel(given, GetParam(), SerialExecutor()),
                two = RunKernel(given, GetParam(), TestingThreads(2));
  EXPECT_EQ(one.dt, two.dt);
  EXPECT_EQ(one.log_decay, two.log_decay);
  EXPECT_EQ(one.draw, two.draw);
  EXPECT_EQ(one.dbias, two.dbias);
  EXPECT_EQ(one.da_log, two.da_log);
}

TEST_P(StepSizes, KeepsANanInItsRow) {
  Case given = MakeCase(5, 9);
  given.raw[2 * 9 + 4] = NAN;
  const Results got = RunKernel(given, GetParam(), SerialExecutor());
  for (size_t i = 0; i < got.dt.size(); ++i) {
    ASSERT_EQ(std::isnan(got.dt[i]), i == 2 * 9 + 4) << i;
    ASSERT_EQ(std::isnan(got.draw[i]), i == 2 * 9 + 4) << i;
  }
}

}  // namespace
}  // namespace retort
