// Random problems of every kind for the tests of mixing_loss: the same numbers in float and in double.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/mixing_loss/mixing_loss.h"

namespace retort {

enum class Decays { kNone, kMild, kAlmostOne, kZero, kStrong, kResets };

struct MixingLossCase {
  MixingLossShape shape;
  Decays decays = Decays::kMild;
  bool dt = true, d = true;
  int64_t stride_gap = 0;  // elements between the end of one token's rows and the next token's
  int seed = 1;
};

// Inputs and outputs of one problem. Every input is representable in float.
template <class Real>
struct MixingLossProblem {
  MixingLossCase options;
  std::vector<Real> q, k, lse, c, b, log_decay, dt, d, weight;
  std::vector<Real> loss, grad_c, grad_b, grad_log_decay, grad_dt, grad_d;

  HeadRows<Real> Rows(const std::vector<Real>& values, int64_t heads, int64_t width) const {
    const int64_t token = heads * width + options.stride_gap;
    return {values.empty() ? nullptr : values.data(), options.shape.tokens * token, token, width};
  }

  MixingLossInput<Real> Input() const {
    const MixingLossShape& s = options.shape;
    return {s,
            Rows(q, s.heads, s.head_dim),
            Rows(k, s.key_heads, s.head_dim),
            Rows(lse, s.heads, 1),
            Rows(c, s.groups, s.state_size),
            Rows(b, s.groups, s.state_size),
            Rows(log_decay, s.heads, 1),
            Rows(dt, s.heads, 1),
            d.empty() ? nullptr : d.data()};
  }

  // Sets the outputs' sizes: one element more than there are, to see a write past the end.
  MixingLossGradients<Real> Gradients() {
    const MixingLossShape& s = options.shape;
    const auto out = [](std::vector<Real>& values, int64_t size, bool there) -> Real* {
      values.assign(there ? size + 1 : 0, Real(-77));
      return there ? values.data() : nullptr;
    };
    const int64_t tokens = s.batch * s.tokens;
    return {out(grad_c, tokens * s.groups * s.state_size, true),
            out(grad_b, tokens * s.groups * s.state_size, true),
            out(grad_log_decay, tokens * s.heads, !log_decay.empty()),
            out(grad_dt, tokens * s.heads, !dt.empty()), out(grad_d, s.heads, !d.empty())};
  }

  Real* Loss() {
    loss.assign(options.shape.batch * options.shape.heads + 1, Real(-77));
    return loss.data();
  }
};

namespace mixing_loss_problem_internal {

inline double LogDecay(Decays decays, std::mt19937& random) {
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  switch (decays) {
    case Decays::kNone:
    case Decays::kZero:
      return 0.0;
    case Decays::kMild:
      return -std::log1p(std::exp(4.0 * uniform(random) - 5.0));
    case Decays::kAlmostOne:
      return -1e-6 * uniform(random);
    case Decays::kStrong:
      return -50.0;
    case Decays::kResets:
      return uniform(random) < 0.05 ? -INFINITY : -0.02 * uniform(random);
  }
  return 0.0;
}

// lse_i = log sum over j <= i of exp(q_i . k_j / sqrt(Q)).
template <class Real>
void FillLogSumExp(MixingLossProblem<Real>& p) {
  const MixingLossShape& s = p.options.shape;
  const auto q = p.Rows(p.q, s.heads, s.head_dim), k = p.Rows(p.k, s.key_heads, s.head_dim);
  const auto lse = p.Rows(p.lse, s.heads, 1);
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t i = 0; i < s.tokens; ++i) {
      for (int64_t h = 0; h < s.heads; ++h) {
        double sum = 0.0;
        for (int64_t j = 0; j <= i; ++j) {
          double score = 0.0;
          for (int64_t x = 0; x < s.head_dim; ++x) {
            score += static_cast<double>(q.Row(b, i, h)[x]) * k.Row(b, j, h * s.key_heads / s.heads)[x];
          }
          sum += std::exp(score / std::sqrt(static_cast<double>(s.head_dim)));
        }
        *const_cast<Real*>(lse.Row(b, i, h)) = static_cast<float>(std::log(sum));
      }
    }
  }
}

}  // namespace mixing_loss_problem_internal

template <class Real>
MixingLossProblem<Real> MakeMixingLossProblem(const MixingLossCase& options) {
  const MixingLossShape& s = options.shape;
  std::mt19937 random(options.seed);
  MixingLossProblem<Real> p;
  p.options = options;
  const auto fill = [&](std::vector<Real>& values, int64_t heads, int64_t width, auto next) {
    values.resize(s.batch * s.tokens * (heads * width + options.stride_gap) + 1);  // never empty
    for (Real& value : values) value = static_cast<float>(next());
  };
  std::normal_distribution<double> normal;
  const auto gauss = [&] { return normal(random); };
  const auto small_gauss = [&] { return normal(random) / std::sqrt(static_cast<double>(s.state_size)); };
  fill(p.q, s.heads, s.head_dim, gauss);
  fill(p.k, s.key_heads, s.head_dim, gauss);
  fill(p.c, s.groups, s.state_size, small_gauss);
  fill(p.b, s.groups, s.state_size, gauss);
  fill(p.lse, s.heads, 1, [] { return 0.0; });
  if (options.decays != Decays::kNone) {
    fill(p.log_decay, s.heads, 1,
         [&] { return mixing_loss_problem_internal::LogDecay(options.decays, random); });
  }
  if (options.dt) fill(p.dt, s.heads, 1, [&] { return 0.1 * std::fabs(normal(random)); });
  if (options.d) {
    for (int64_t h = 0; h < s.heads; ++h) p.d.push_back(static_cast<float>(0.3 * normal(random)));
  }
  for (int64_t bh = 0; bh < s.batch * s.heads; ++bh)
    p.weight.push_back(static_cast<float>(0.5 + 0.25 * (bh % 5)));
  mixing_loss_problem_internal::FillLogSumExp(p);
  return p;
}

}  // namespace retort
