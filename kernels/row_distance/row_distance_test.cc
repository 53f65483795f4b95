#include "kernels/row_distance/row_distance.h"

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/testing_threads.h"

namespace retort {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();

// Rows of s and t as parts of wider ones.
struct Case {
  int64_t rows, width;
  std::vector<float> s, t;
  int64_t s_row() const { return width + 5; }
  int64_t t_row() const { return width + 2; }
};

Case MakeCase(int64_t rows, int64_t width) {
  std::mt19937 random(rows * 100 + width);
  std::normal_distribution<float> normal;
  Case given = {rows, width, {}, {}};
  for (int64_t i = 0; i < rows * given.s_row(); ++i) given.s.push_back(normal(random));
  for (int64_t i = 0; i < rows * given.t_row(); ++i) given.t.push_back(normal(random));
  return given;
}

struct Results {
  std::vector<float> distance, direction;
};

Results RunKernel(const Case& given, InstructionSet set, const Executor& executor = SerialExecutor()) {
  Results got = {std::vector<float>(given.rows, NAN), std::vector<float>(given.rows * given.width, NAN)};
  RowDistance({given.rows, given.width, given.s.data(), given.s_row(), given.t.data(), given.t_row(),
               got.distance.data(), got.direction.data()},
              executor, set);
  return got;
}

class RowDistanceKernel : public testing::TestWithParam<InstructionSet> {};

INSTANTIATE_TEST_SUITE_P(, RowDistanceKernel, testing::ValuesIn(SupportedInstructionSets()),
                         [](const auto& info) { return std::string(Name(info.param)); });

// A sum of n squares errs by sqrt(n) / 2 eps, its root by half of that, and each difference by half an eps.
TEST_P(RowDistanceKernel, IsTheDistanceInDoubles) {
  for (const int64_t width : {1, 15, 16, 17, 576}) {
    for (const int64_t rows : {0, 1, 3, 100}) {
      const Case given = MakeCase(rows, width);
      const Results got = RunKernel(given, GetParam());
      const double bound = (3 + std::sqrt(width)) * kEpsilon;
      for (int64_t r = 0; r < rows; ++r) {
        const auto difference = [&](int64_t i) {
          return static_cast<double>(given.s[r * given.s_row() + i]) - given.t[r * given.t_row() + i];
        };
        double squares = 0;
        for (int64_t i = 0; i < width; ++i) squares += difference(i) * difference(i);
        const double distance = std::sqrt(squares);
        ASSERT_NEAR(got.distance[r], distance, bound * distance) << width << " " << r;
        for (int64_t i = 0; i < width; ++i) {
          ASSERT_NEAR(got.direction[r * width + i], difference(i) / distance, bound) << width << " " << r;
        }
      }
    }
  }
}

TEST_P(RowDistanceKernel, HasNoDirectionWhereRowsAgree) {
  Case given = MakeCase(3, 20);
  for (int64_t i = 0; i < 20; ++i) given.s[given.s_row() + i] = given.t[given.t_row() + i];
  const Results got = RunKernel(given, GetParam());
  EXPECT_EQ(got.distance[1], 0.0f);
  for (int64_t i = 20; i < 40; ++i) EXPECT_EQ(got.direction[i], 0.0f);
  EXPECT_GT(got.distance[2], 0.0f);
}

TEST_P(RowDistanceKernel, KeepsANanInItsRow) {
  Case given = MakeCase(3, 20);
  given.t[given.t_row() + 7] = NAN;
  const Results got = RunKernel(given, GetParam());
  for (int64_t r = 0; r < 3; ++r) {
    EXPECT_EQ(std::isnan(got.distance[r]), r == 1);
    for (int64_t i = 0; i < 20; ++i) EXPECT_EQ(std::isnan(got.direction[r * 20 + i]), r == 1);
  }
}

TEST_P(RowDistanceKernel, GivesTheSameBitsOnAnyNumberOfThreads) {
  const Case given = MakeCase(300, 200);
  const Results one = RunKernel(given, GetParam()), two = RunKernel(given, GetParam(), TestingThreads(2));
  EXPECT_EQ(one.distance, two.distance);
  EXPECT_EQ(one.direction, two.direction);
}

}  // namespace
}  // namespace retort
