#include "kernels/mixing_loss/mixing_loss_ref.h"

#include <algorithm>
#include <cmath>

namespace retort {
namespace {

double Dot(const double* x, const double* y, int64_t size) {
  double sum = 0.0;
  for (int64_t n = 0; n < size; ++n) sum += x[n] * y[n];
  return sum;
}

void AddScaled(double scale, const double* x, int64_t size, double* sum) {
  for (int64_t n = 0; n < size; ++n) sum[n] += scale * x[n];
}

struct Pair {
  int64_t b, h, group, i, j;
  double E, G, L, dt;  // G = c_i . b_j
};

// Calls visit(pair) for all i >= j of every batch and head.
template <class Visit>
void ForEachPair(const MixingLossInput<double>& x, const Visit& visit) {
  const MixingLossShape& s = x.shape;
  for (int64_t bh = 0; bh < s.batch * s.heads; ++bh) {
    const int64_t b = bh / s.heads, h = bh % s.heads;
    const int64_t key_head = h / (s.heads / s.key_heads), group = h / (s.heads / s.groups);
    for (int64_t i = 0; i < s.tokens; ++i) {
      double decay = 0.0;  // l_{j+1} + ... + l_i
      for (int64_t j = i; j >= 0; --j) {
        const double score = Dot(x.q_BTHQ.Row(b, i, h), x.k_BTKQ.Row(b, j, key_head), s.head_dim);
        const double P =
            std::exp(score / std::sqrt(static_cast<double>(s.head_dim)) - *x.lse_BTH.Row(b, i, h));
        const double G = Dot(x.c_BTGN.Row(b, i, group), x.b_BTGN.Row(b, j, group), s.state_size);
        const double L = std::exp(decay), dt = x.dt_BTH.data != nullptr ? *x.dt_BTH.Row(b, j, h) : 1.0;
        const double D = i == j && x.d_H != nullptr ? x.d_H[h] : 0.0;
        visit(Pair{b, h, group, i, j, G * L * dt + D - P, G, L, dt});
        if (x.log_decay_BTH.data != nullptr) decay += *x.log_decay_BTH.Row(b, j, h);
      }
    }
  }
}

void Zero(double* out, int64_t size) {
  if (out != nullptr) std::fill_n(out, size, 0.0);
}

}  // namespace

void MixingLossForwardRef(const MixingLossInput<double>& input, double* loss_BH) {
  Zero(loss_BH, input.shape.batch * input.shape.heads);
  ForEachPair(input, [&](const Pair& p) { loss_BH[p.b * input.shape.heads + p.h] += p.E * p.E; });
}

void MixingLossBackwardRef(const MixingLossInput<double>& input, const double* weight_BH,
                           const MixingLossGradients<double>& gradients) {
  const MixingLossShape& s = input.shape;
  const int64_t N = s.state_size, tokens = s.batch * s.tokens;
  Zero(gradients.c_BTGN, tokens * s.groups * N);
  Zero(gradients.b_BTGN, tokens * s.groups * N);
  Zero(gradients.log_decay_BTH, tokens * s.heads);
  Zero(gradients.dt_BTH, tokens * s.heads);
  Zero(gradients.d_H, s.heads);
  ForEachPair(input, [&](const Pair& p) {
    const auto at = [&](int64_t t, int64_t heads, int64_t head) {
      return (p.b * s.tokens + t) * heads + head;
    };
    const double slope = 2.0 * weight_BH[p.b * s.heads + p.h] * p.E * p.L;
    AddScaled(slope * p.dt, input.b_BTGN.Row(p.b, p.j, p.group), N,
              gradients.c_BTGN + at(p.i, s.groups, p.group) * N);
    AddScaled(slope * p.dt, input.c_BTGN.Row(p.b, p.i, p.group), N,
              gradients.b_BTGN + at(p.j, s.groups, p.group) * N);
    if (gradients.d_H != nullptr && p.i == p.j) gradients.d_H[p.h] += slope;
    if (gradients.dt_BTH != nullptr) gradients.dt_BTH[at(p.j, s.heads, p.h)] += slope * p.G;
    if (gradients.log_decay_BTH == nullptr) return;
    for (int64_t t = p.j + 1; t <= p.i; ++t) {
      gradients.log_decay_BTH[at(t, s.heads, p.h)] += slope * p.G * p.dt;
    }
  });
}

}  // namespace retort
