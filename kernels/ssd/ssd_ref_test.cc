#include "kernels/ssd/ssd_ref.h"

#include "gtest/gtest.h"
#include "kernels/ssd/testing_ssd.h"

namespace retort {
namespace {

double Inner(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

TEST(SsdForwardReference, ComputesByHand) {
  TestingSsd<double> one;
  one.shape = {1, 2, 1, 1, 1, 1};
  one.x = {2, 3};
  one.log_decay = {0, std::log(0.5)};
  one.dt = {1, 10};
  one.b = {5, 7};
  one.c = {11, 13};
  one.d = {100};
  one.initial_state = {1};
  one.Allocate();
  SsdForwardReference(one.Forward());
  EXPECT_DOUBLE_EQ(one.y[0], (1 + 10) * 11 + 200);
  EXPECT_DOUBLE_EQ(one.y[1], (0.5 * 11 + 210) * 13 + 300);
  EXPECT_DOUBLE_EQ(one.final_state[0], 215.5);
}

TEST(SsdBackwardReference, EqualsFiniteDifferences) {
  auto problem = RandomSsd<double>({2, 5, 4, 2, 3, 2}, 1, [](int64_t t) { return -0.3f * t; });
  const auto loss = [&] {
    SsdForwardReference(problem.Forward());
    return Inner(problem.y, problem.dy) + Inner(problem.final_state, problem.dfinal_state);
  };
  SsdForwardReference(problem.Forward());
  SsdBackwardReference(problem.Backward());
  const std::vector<std::pair<std::vector<double>*, std::vector<double>*>> pairs = {
      {&problem.x, &problem.dx},
      {&problem.log_decay, &problem.dlog_decay},
      {&problem.dt, &problem.ddt},
      {&problem.b, &problem.db},
      {&problem.c, &problem.dc},
      {&problem.d, &problem.dd},
      {&problem.initial_state, &problem.dinitial_state}};
  constexpr double kStep = 1e-5;  // the error is about kStep^2 times sums of some tens
  for (const auto& [values, gradients] : pairs) {
    for (size_t i = 0; i < values->size(); ++i) {
      const double middle = (*values)[i];
      (*values)[i] = middle + kStep;
      const double above = loss();
      (*values)[i] = middle - kStep;
      const double below = loss();
      (*values)[i] = middle;
      ASSERT_NEAR((*gradients)[i], (above - below) / (2 * kStep), 1e-7) << i;
    }
  }
}

}  // namespace
}  // namespace retort
