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

// A weighted sum of the losses, so that one difference sees every head.
double WeightedLoss(Problem& problem) {
  MixingLossRef(problem.Args());
  double sum = 0.0;
  for (size_t bh = 0; bh + 1 < problem.loss.size(); ++bh) sum += (1.0 + 0.5 * bh) * problem.loss[bh];
  return sum;
}

// d WeightedLoss / d (*x) by central differences. Error about 1e-10: h^2 times the third derivative, and
// rounding over h.
double Difference(Problem& problem, double* x) {
  const double h = 1e-5, at = *x;
  *x = at + h;
  const double above = WeightedLoss(problem);
  *x = at - h;
  const double below = WeightedLoss(problem);
  *x = at;
  return (above - below) / (2.0 * h);
}

// What per-head gradients [B, H, T, width] say of an input [B, T, heads, width], heads dividing H.
double Weighted(const Problem& problem, const std::vector<double>& grad_BHTn, int64_t heads, int64_t width,
                int64_t b, int64_t t, int64_t head, int64_t n) {
  const MixingLossShape& s = problem.options.shape;
  double sum = 0.0;
  for (int64_t h = 0; h < s.heads; ++h) {
    const int64_t bh = b * s.heads + h;
    if (h / (s.heads / heads) == head) sum += (1.0 + 0.5 * bh) * grad_BHTn[(bh * s.tokens + t) * width + n];
  }
  return sum;
}

void ExpectGradient(Problem& problem, std::vector<double> Problem::*input, std::vector<double> Problem::*grad,
                    int64_t heads, int64_t width) {
  const MixingLossShape& s = problem.options.shape;
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t t = 0; t < s.tokens; ++t) {
      for (int64_t head = 0; head < heads; ++head) {
        for (int64_t n = 0; n < width; ++n) {
          double* x = &(problem.*input)[((b * s.tokens + t) * heads + head) * width + n];
          const double difference = Difference(problem, x);
          MixingLossRef(problem.Args());
          const double got = Weighted(problem, problem.*grad, heads, width, b, t, head, n);
          EXPECT_NEAR(got, difference, 1e-8 * (1.0 + std::fabs(difference)))
              << b << " " << t << " " << head << " " << n;
        }
      }
    }
  }
}

TEST(MixingLossRef, GradientsAreThoseOfFiniteDifferences) {
  Problem problem = MakeMixingLossProblem<double>(SmallCase());
  const MixingLossShape& s = problem.options.shape;
  ExpectGradient(problem, &Problem::c, &Problem::grad_c, s.groups, s.state_size);
  ExpectGradient(problem, &Problem::b, &Problem::grad_b, s.groups, s.state_size);
  ExpectGradient(problem, &Problem::log_decay, &Problem::grad_log_decay, s.heads, 1);
  ExpectGradient(problem, &Problem::dt, &Problem::grad_dt, s.heads, 1);
}

TEST(MixingLossRef, GradientOfDIsThatOfFiniteDifferences) {
  Problem problem = MakeMixingLossProblem<double>(SmallCase());
  const MixingLossShape& s = problem.options.shape;
  for (int64_t h = 0; h < s.heads; ++h) {
    const double difference = Difference(problem, &problem.d[h]);
    MixingLossRef(problem.Args());
    double got = 0.0;
    for (int64_t bh = h; bh < s.batch * s.heads; bh += s.heads) got += (1.0 + 0.5 * bh) * problem.grad_d[bh];
    EXPECT_NEAR(got, difference, 1e-8 * (1.0 + std::fabs(difference)));
  }
}

TEST(MixingLossRef, TeacherRowsSumToOne) {
  MixingLossCase options = SmallCase();
  options.d = false;
  options.decays = Decays::kNone;
  options.dt = false;
  Problem problem = MakeMixingLossProblem<double>(options);
  // b = 1 in the first place and c = 0: dS/dc_i[0] = -2 sum_j P_ij.
  std::fill(problem.c.begin(), problem.c.end(), 0.0);
  std::fill(problem.b.begin(), problem.b.end(), 1.0);
  MixingLossRef(problem.Args());
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
  MixingLossRef(problem.Args());
  EXPECT_NEAR(problem.loss[0], 4.75 * 4.75, 1e-12);  // M = 11 / 2 + 1 / 4
  EXPECT_NEAR(problem.grad_d[0], 9.5, 1e-12);
  EXPECT_NEAR(problem.grad_dt[0], 9.5 * 11.0, 1e-12);
  EXPECT_NEAR(problem.grad_c[1], 9.5 * 0.5 * 4.0, 1e-12);
  EXPECT_EQ(problem.grad_log_decay[0], 0.0);
}

}  // namespace
}  // namespace retort
