// The reference itself: its gradients against finite differences of its loss, and its value in cases that can
// be worked out by hand.
#include "kernels/mixing_loss/mixing_loss_ref.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/mixing_loss/mixing_loss_problem.h"

namespace retort {
namespace {

using Problem = MixingLossProblem<double>;

MixingLossCase SmallCase() {
  MixingLossCase options;
  options.shape = {
      .batch = 2, .tokens = 5, .heads = 4, .key_heads = 2, .groups = 2, .head_dim = 3, .state_size = 2};
  return options;
}

double WeightedLoss(Problem& problem) {
  MixingLossForwardRef(problem.Input(), problem.Loss());
  double sum = 0.0;
  for (size_t bh = 0; bh < problem.weight.size(); ++bh) sum += problem.weight[bh] * problem.loss[bh];
  return sum;
}

// The gradient of each element of an input is the central difference of the weighted loss. Error about 1e-10:
// h^2 times the third derivative, and rounding over h.
void ExpectGradient(Problem& problem, std::vector<double> Problem::*input,
                    std::vector<double> Problem::*gradient) {
  MixingLossBackwardRef(problem.Input(), problem.weight.data(), problem.Gradients());
  const std::vector<double>& got = problem.*gradient;
  ASSERT_GT(got.size(), 1u);
  for (size_t i = 0; i + 1 < got.size(); ++i) {
    const double h = 1e-5, at = (problem.*input)[i];
    (problem.*input)[i] = at + h;
    const double above = WeightedLoss(problem);
    (problem.*input)[i] = at - h;
    const double difference = (above - WeightedLoss(problem)) / (2.0 * h);
    (problem.*input)[i] = at;
    EXPECT_NEAR(got[i], difference, 1e-8 * (1.0 + std::fabs(difference))) << "element " << i;
  }
}

TEST(MixingLossRef, GradientsAreThoseOfFiniteDifferences) {
  Problem problem = MakeMixingLossProblem<double>(SmallCase());
  ExpectGradient(problem, &Problem::c, &Problem::grad_c);
  ExpectGradient(problem, &Problem::b, &Problem::grad_b);
  ExpectGradient(problem, &Problem::log_decay, &Problem::grad_log_decay);
  ExpectGradient(problem, &Problem::dt, &Problem::grad_dt);
  ExpectGradient(problem, &Problem::d, &Problem::grad_d);
}

TEST(MixingLossRef, TeacherRowsSumToOne) {
  MixingLossCase options = SmallCase();
  options.d = false;
  options.decays = Decays::kNone;
  options.dt = false;
  Problem problem = MakeMixingLossProblem<double>(options);
  // b = 1, c = 0 and two heads a group: dc_i = -2 (w_1 + w_2) sum_j P_ij.
  std::fill(problem.c.begin(), problem.c.end(), 0.0);
  std::fill(problem.b.begin(), problem.b.end(), 1.0);
  std::fill(problem.weight.begin(), problem.weight.end(), 0.5);
  MixingLossBackwardRef(problem.Input(), problem.weight.data(), problem.Gradients());
  for (size_t i = 0; i + 1 < problem.grad_c.size(); ++i) EXPECT_NEAR(problem.grad_c[i], -2.0, 1e-6);
}

TEST(MixingLossRef, OneTokenComparesTheDiagonalWithOne) {
  MixingLossCase options = SmallCase();
  options.shape = {
      .batch = 1, .tokens = 1, .heads = 1, .key_heads = 1, .groups = 1, .head_dim = 2, .state_size = 2};
  Problem problem = MakeMixingLossProblem<double>(options);
  problem.lse = {0.5};
  problem.q = {1.0, 1.0};
  problem.k = {0.5 * std::sqrt(2.0), 0.0};  // score 0.5: P = 1
  problem.c = {1.0, 2.0};
  problem.b = {3.0, 4.0};
  problem.dt = {0.5};
  problem.d = {0.25};
  problem.weight = {1.0};
  MixingLossForwardRef(problem.Input(), problem.Loss());
  MixingLossBackwardRef(problem.Input(), problem.weight.data(), problem.Gradients());
  EXPECT_NEAR(problem.loss[0], 4.75 * 4.75, 1e-12);  // M = 11 / 2 + 1 / 4
  EXPECT_NEAR(problem.grad_d[0], 9.5, 1e-12);
  EXPECT_NEAR(problem.grad_dt[0], 9.5 * 11.0, 1e-12);
  EXPECT_NEAR(problem.grad_c[1], 9.5 * 0.5 * 4.0, 1e-12);
  EXPECT_EQ(problem.grad_log_decay[0], 0.0);
}

}  // namespace
}  // namespace retort
