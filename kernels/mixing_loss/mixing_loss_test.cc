// The fp32 kernel of every instruction set against the double reference, within a bound on its rounding.
#include "kernels/mixing_loss/mixing_loss.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>
#include <utility>
#include <vector>

#include "kernels/base/testing_threads.h"
#include "kernels/mixing_loss/mixing_loss_problem.h"
#include "kernels/mixing_loss/mixing_loss_ref.h"

namespace retort {
namespace {

using Problem = MixingLossProblem<float>;
using Reference = MixingLossProblem<double>;

double Root(int64_t terms) { return std::sqrt(static_cast<double>(terms)); }

// How far fp32 may be from the reference, in the arrays of the outputs: first-order rounding errors carried
// through the equations. A sum of n products errs by about 4 sqrt(n) u times the sum of their magnitudes; a
// decay exp(x), x the sum of up to 64 logarithms and of tiles' totals, by (8 |x| + 8) u of itself; and a tile
// whose student is below 1e-20 is taken for zero.
Reference ErrorBounds(Reference p) {
  constexpr double u = 1.0 / (1 << 24), kNothing = 1e-19;
  const MixingLossInput<double> x = p.Input();
  p.Gradients();
  p.Loss();
  for (auto* out : {&p.loss, &p.grad_c, &p.grad_b, &p.grad_log_decay, &p.grad_dt, &p.grad_d}) {
    std::fill(out->begin(), out->end(), 1e-30);
  }
  const MixingLossShape& s = x.shape;
  const int64_t T = s.tokens, N = s.state_size;
  const double sum_T = 4.0 * Root(T * s.heads) * u, scale = 1.0 / Root(s.head_dim);
  for (int64_t bh = 0; bh < s.batch * s.heads; ++bh) {
    const int64_t b = bh / s.heads, h = bh % s.heads, group = h * s.groups / s.heads;
    const double w = p.weight[bh];
    for (int64_t i = 0; i < T; ++i) {
      double decay = 0.0;  // logarithm, from j to i
      for (int64_t j = i; j >= 0; --j) {
        const double *q = x.q_BTHQ.Row(b, i, h), *k = x.k_BTKQ.Row(b, j, h * s.key_heads / s.heads);
        const double *c_i = x.c_BTGN.Row(b, i, group), *b_j = x.b_BTGN.Row(b, j, group);
        double score = 0.0, score_size = 0.0, G = 0.0, G_size = 0.0;
        for (int64_t n = 0; n < s.head_dim; ++n) {
          score += scale * q[n] * k[n];
          score_size += scale * std::fabs(q[n] * k[n]);
        }
        for (int64_t n = 0; n < N; ++n) {
          G += c_i[n] * b_j[n];
          G_size += std::fabs(c_i[n] * b_j[n]);
        }
        const double lse = *x.lse_BTH.Row(b, i, h), L = std::exp(decay);
        const double dt = x.dt_BTH.data != nullptr ? *x.dt_BTH.Row(b, j, h) : 1.0;
        const double D = i == j && x.d_H != nullptr ? x.d_H[h] : 0.0;
        const double P = std::exp(score - lse), E = std::fabs(G * L * dt + D - P);
        const double L_error = L == 0.0 ? 0.0 : u * L * (8.0 * std::fabs(decay) + 8.0);
        const double G_error = 4.0 * Root(N) * u * G_size;
        const double M_error = dt * (L * G_error + std::fabs(G) * L_error) + kNothing * G_size;
        const double P_error =
            u * P * (4.0 * Root(s.head_dim) * score_size + std::fabs(score) + std::fabs(lse) + 8.0);
        const double E_error = M_error + P_error + 2.0 * u * E;
        const double slope = 2.0 * w * E * L,
                     slope_error = 2.0 * w * (E_error * L + E * (L_error + kNothing));
        p.loss[bh] += 2.0 * E * E_error + E_error * E_error + 64.0 * u * E * E;
        const double F_error = dt * (slope_error + slope * sum_T);
        for (int64_t n = 0; n < N; ++n) {
          p.grad_c[((b * T + i) * s.groups + group) * N + n] += std::fabs(b_j[n]) * F_error;
          p.grad_b[((b * T + j) * s.groups + group) * N + n] += std::fabs(c_i[n]) * F_error;
        }
        if (i == j && !p.d.empty()) p.grad_d[h] += w * (2.0 * E_error + 2.0 * u * E);
        const double V_error = slope_error * std::fabs(G) + slope * (G_error + std::fabs(G) * sum_T);
        if (!p.dt.empty()) p.grad_dt[(b * T + j) * s.heads + h] += V_error;
        if (p.log_decay.empty()) continue;
        for (int64_t t = j + 1; t <= i; ++t) p.grad_log_decay[(b * T + t) * s.heads + h] += dt * V_error;
        decay += *x.log_decay_BTH.Row(b, j, h);
      }
    }
  }
  return p;
}

void Compute(Problem& problem, InstructionSet set, const Executor& executor = SerialExecutor()) {
  MixingLossForward(problem.Input(), problem.Loss(), set, executor);
  MixingLossBackward(problem.Input(), problem.weight.data(), problem.Gradients(), set, executor);
}

void ExpectWithin(const std::vector<float>& got, const std::vector<double>& want,
                  const std::vector<double>& bound, const char* what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  int failures = 0;
  for (size_t i = 0; i + 1 < got.size(); ++i) {
    if (std::fabs(got[i] - want[i]) <= bound[i]) continue;
    if (++failures <= 3) {
      ADD_FAILURE() << what << "[" << i << "] is " << got[i] << ", should be " << want[i] << " +- "
                    << bound[i];
    }
  }
  if (got.empty()) return;
  EXPECT_EQ(got.back(), -77.0f) << what << ": written past its end";
}

// With every weight 1; the gradient of D summed over the batch.
void ComputeInOneWalk(Problem& problem, InstructionSet set, const Executor& executor = SerialExecutor()) {
  const MixingLossShape& s = problem.options.shape;
  MixingLossGradients<float> gradients = problem.Gradients();
  float* const grad_d_H = std::exchange(gradients.d_H, nullptr);
  std::vector<float> grad_d_BH(s.batch * s.heads);
  MixingLossForwardBackward(problem.Input(), problem.Loss(), gradients,
                            grad_d_H != nullptr ? grad_d_BH.data() : nullptr, set, executor);
  for (int64_t h = 0; h < s.heads && grad_d_H != nullptr; ++h) {
    grad_d_H[h] = 0.0f;
    for (int64_t b = 0; b < s.batch; ++b) grad_d_H[h] += grad_d_BH[b * s.heads + h];
  }
}

void ExpectWithinBounds(const Problem& got, const Reference& want, const Reference& bounds) {
  ExpectWithin(got.loss, want.loss, bounds.loss, "loss");
  ExpectWithin(got.grad_c, want.grad_c, bounds.grad_c, "grad_c");
  ExpectWithin(got.grad_b, want.grad_b, bounds.grad_b, "grad_b");
  ExpectWithin(got.grad_log_decay, want.grad_log_decay, bounds.grad_log_decay, "grad_log_decay");
  ExpectWithin(got.grad_dt, want.grad_dt, bounds.grad_dt, "grad_dt");
  ExpectWithin(got.grad_d, want.grad_d, bounds.grad_d, "grad_d");
}

// In two walks, and in one where each head is a group.
void ExpectMatchesReference(const MixingLossCase& options) {
  Reference reference = MakeMixingLossProblem<double>(options), unweighted = reference;
  MixingLossForwardRef(reference.Input(), reference.Loss());
  MixingLossBackwardRef(reference.Input(), reference.weight.data(), reference.Gradients());
  const Reference bounds = ErrorBounds(reference);
  for (const InstructionSet set : SupportedInstructionSets()) {
    SCOPED_TRACE(Name(set));
    Problem got = MakeMixingLossProblem<float>(options);
    Compute(got, set);
    ExpectWithinBounds(got, reference, bounds);
  }
  if (options.shape.groups != options.shape.heads) return;
  std::fill(unweighted.weight.begin(), unweighted.weight.end(), 1.0);
  MixingLossForwardRef(unweighted.Input(), unweighted.Loss());
  MixingLossBackwardRef(unweighted.Input(), unweighted.weight.data(), unweighted.Gradients());
  const Reference unweighted_bounds = ErrorBounds(unweighted);
  for (const InstructionSet set : SupportedInstructionSets()) {
    SCOPED_TRACE(Name(set));
    Problem got = MakeMixingLossProblem<float>(options);
    ComputeInOneWalk(got, set);
    SCOPED_TRACE("in one walk");
    ExpectWithinBounds(got, unweighted, unweighted_bounds);
  }
}

MixingLossCase Case(int64_t tokens) {
  MixingLossCase options;
  options.shape = {.batch = 1,
                   .tokens = tokens,
                   .heads = 3,
                   .key_heads = 3,
                   .groups = 1,
                   .head_dim = 16,
                   .state_size = 16};
  return options;
}

class MixingLossTokens : public testing::TestWithParam<int64_t> {};

TEST_P(MixingLossTokens, MatchReference) {
  MixingLossCase options = Case(GetParam());
  ExpectMatchesReference(options);
  options.shape.heads = options.shape.key_heads = options.shape.groups = 1;
  options.shape.batch = 3;
  options.stride_gap = 5;
  ExpectMatchesReference(options);
}

INSTANTIATE_TEST_SUITE_P(Lengths, MixingLossTokens,
                         testing::Values(0, 1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 200, 257));

TEST(MixingLoss, MatchesReferenceOnLongSequences) {
  MixingLossCase options = Case(1100);
  options.shape.heads = options.shape.key_heads = 1;
  options.shape.head_dim = 8;
  ExpectMatchesReference(options);
}

TEST(MixingLoss, MatchesReferenceForAllSizesOfState) {
  for (const int64_t state_size : {16, 32, 48, 64, 80, 128}) {
    MixingLossCase options = Case(130);
    options.shape.state_size = state_size;
    SCOPED_TRACE(state_size);
    ExpectMatchesReference(options);
  }
}

TEST(MixingLoss, MatchesReferenceForHeadWidths) {
  for (const int64_t head_dim : {1, 20, 64, 128}) {
    MixingLossCase options = Case(130);
    options.shape.head_dim = head_dim;
    SCOPED_TRACE(head_dim);
    ExpectMatchesReference(options);
  }
}

TEST(MixingLoss, MatchesReferenceForHeadsInGroups) {
  const struct { int64_t heads, key_heads, groups; } kinds[] = {{9, 3, 1}, {6, 1, 2}, {6, 6, 6}, {10, 2, 1}};
  for (const auto& kind : kinds) {
    MixingLossCase options = Case(150);
    options.shape.heads = kind.heads;
    options.shape.key_heads = kind.key_heads;
    options.shape.groups = kind.groups;
    options.stride_gap = 3;
    SCOPED_TRACE(kind.heads * 100 + kind.key_heads * 10 + kind.groups);
    ExpectMatchesReference(options);
  }
}

TEST(MixingLoss, MatchesReferenceForAllDecays) {
  for (const Decays decays :
       {Decays::kNone, Decays::kMild, Decays::kAlmostOne, Decays::kZero, Decays::kStrong, Decays::kResets}) {
    MixingLossCase options = Case(260);
    options.decays = decays;
    SCOPED_TRACE(static_cast<int>(decays));
    ExpectMatchesReference(options);
    options.shape.groups = options.shape.heads;
    ExpectMatchesReference(options);
  }
}

TEST(MixingLoss, MatchesReferenceWithoutDtAndD) {
  MixingLossCase options = Case(130);
  options.dt = false;
  ExpectMatchesReference(options);
  options.d = false;
  ExpectMatchesReference(options);
  options.shape.groups = options.shape.heads;
  ExpectMatchesReference(options);
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
}

TEST(MixingLoss, ThreadsDoNotChangeABit) {
  for (const int64_t heads : {1, 2, 9, 16}) {
    MixingLossCase options = Case(700);
    options.shape.heads = heads;
    options.shape.key_heads = 1;
    Problem one = MakeMixingLossProblem<float>(options), three = one;
    Compute(one, ActiveInstructionSet());
    Compute(three, ActiveInstructionSet(), TestingThreads(3));
    EXPECT_TRUE(SameBits(one.loss, three.loss));
    EXPECT_TRUE(SameBits(one.grad_c, three.grad_c));
    EXPECT_TRUE(SameBits(one.grad_b, three.grad_b));
    EXPECT_TRUE(SameBits(one.grad_log_decay, three.grad_log_decay));
    EXPECT_TRUE(SameBits(one.grad_dt, three.grad_dt));
    EXPECT_TRUE(SameBits(one.grad_d, three.grad_d));

    options.shape.groups = heads;
    one = three = MakeMixingLossProblem<float>(options);
    ComputeInOneWalk(one, ActiveInstructionSet());
    ComputeInOneWalk(three, ActiveInstructionSet(), TestingThreads(3));
    EXPECT_TRUE(SameBits(one.loss, three.loss));
    EXPECT_TRUE(SameBits(one.grad_b, three.grad_b));
    EXPECT_TRUE(SameBits(one.grad_log_decay, three.grad_log_decay));
  }
}

TEST(MixingLoss, StudentEqualToTeacherHasNoLoss) {
  // With q = 0, P_ij = 1 / (i + 1): the student of c = 1 / (i + 1), b = 1 and no decay.
  MixingLossCase options = Case(100);
  options.decays = Decays::kNone;
  options.dt = options.d = false;
  for (const InstructionSet set : SupportedInstructionSets()) {
    Problem problem = MakeMixingLossProblem<float>(options);
    std::fill(problem.q.begin(), problem.q.end(), 0.0f);
    std::fill(problem.c.begin(), problem.c.end(), 0.0f);
    std::fill(problem.b.begin(), problem.b.end(), 1.0f);
    for (int64_t i = 0; i < 100; ++i) {
      problem.c[i * 16] = 1.0f / static_cast<float>(i + 1);
      for (int64_t h = 0; h < 3; ++h) problem.lse[i * 3 + h] = std::log(static_cast<float>(i + 1));
    }
    Compute(problem, set);
    for (int64_t h = 0; h < 3; ++h) EXPECT_LT(problem.loss[h], 1e-11);  // 5,050 pairs of error 1e-7 / (i + 1)
    for (size_t i = 0; i + 1 < problem.grad_c.size(); ++i) EXPECT_NEAR(problem.grad_c[i], 0.0, 1e-5);
  }
}

TEST(MixingLoss, TokensAfterTheLastChangeNothingBeforeThem) {
  // The teacher of a shorter sequence is the corner of that of a longer one; a student that is silent
  // later adds only sum P^2.
  MixingLossCase options = Case(150);
  Problem longer = MakeMixingLossProblem<float>(options);
  for (int64_t t = 100; t < 150; ++t) std::fill_n(longer.c.begin() + t * 16, 16, 0.0f);
  Problem shorter = longer;
  shorter.options.shape.tokens = 100;
  Compute(longer, ActiveInstructionSet());
  Compute(shorter, ActiveInstructionSet());
  for (int64_t i = 0; i < 100 * 16; ++i) EXPECT_FLOAT_EQ(shorter.grad_c[i], longer.grad_c[i]);
}

TEST(MixingLoss, NanNeverReachesEarlierTokens) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const int64_t at = 90;
  for (const InstructionSet set : SupportedInstructionSets()) {
    Problem problem = MakeMixingLossProblem<float>(Case(200));
    problem.q[at * 48] = problem.k[at * 48] = problem.lse[at * 3] = nan;
    problem.c[at * 16] = problem.b[at * 16] = problem.dt[at * 3] = problem.log_decay[at * 3] = nan;
    Compute(problem, set);
    for (int64_t i = 0; i < at * 16; ++i) {
      ASSERT_TRUE(std::isfinite(problem.grad_c[i])) << Name(set) << " token " << i / 16;
    }
    EXPECT_TRUE(std::isnan(problem.grad_c[at * 16]));
    EXPECT_TRUE(std::isnan(problem.loss[0]));
  }
}

TEST(MixingLoss, SaysWhichSizesItTakes) {
  EXPECT_TRUE(MixingLossTakesStateSize(80));
  EXPECT_FALSE(MixingLossTakesStateSize(72));
  EXPECT_FALSE(MixingLossTakesStateSize(272));
  EXPECT_TRUE(MixingLossTakesHeadDim(1));
  EXPECT_FALSE(MixingLossTakesHeadDim(0));
}

}  // namespace
}  // namespace retort
