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

// One batch and head. The outputs it adds to are zero at first.
void HeadRef(const MixingLossArgs<double>& args, int64_t b, int64_t h) {
  const MixingLossShape& s = args.shape;
  const int64_t T = s.tokens, N = s.state_size, bh = b * s.heads + h;
  const int64_t key_head = h / (s.heads / s.key_heads), group = h / (s.heads / s.groups);
  const double D = args.d_H != nullptr ? args.d_H[h] : 0.0;
  for (int64_t i = 0; i < T; ++i) {
    const double* c_i = args.c_BTGN.Row(b, i, group);
    double* grad_c_i = args.grad_c_BHTN + (bh * T + i) * N;
    double decay = 0.0;  // l_{j+1} + ... + l_i
    for (int64_t j = i; j >= 0; --j) {
      const double* b_j = args.b_BTGN.Row(b, j, group);
      const double score = Dot(args.q_BTHQ.Row(b, i, h), args.k_BTKQ.Row(b, j, key_head), s.head_dim);
      const double P =
          std::exp(score / std::sqrt(static_cast<double>(s.head_dim)) - *args.lse_BTH.Row(b, i, h));
      const double G = Dot(c_i, b_j, N), L = std::exp(decay);
      const double dt = args.dt_BTH.data != nullptr ? *args.dt_BTH.Row(b, j, h) : 1.0;
      const double E = G * L * dt + (i == j ? D : 0.0) - P;
      args.loss_BH[bh] += E * E;
      AddScaled(2.0 * E * L * dt, b_j, N, grad_c_i);
      AddScaled(2.0 * E * L * dt, c_i, N, args.grad_b_BHTN + (bh * T + j) * N);
      if (i == j && args.d_H != nullptr) args.grad_d_BH[bh] += 2.0 * E;
      if (args.dt_BTH.data != nullptr) args.grad_dt_BHT[bh * T + j] += 2.0 * E * L * G;
      if (args.log_decay_BTH.data == nullptr) continue;
      for (int64_t t = j + 1; t <= i; ++t) args.grad_log_decay_BHT[bh * T + t] += 2.0 * E * G * L * dt;
      decay += *args.log_decay_BTH.Row(b, j, h);
    }
  }
}

}  // namespace

void MixingLossRef(const MixingLossArgs<double>& args) {
  const MixingLossShape& s = args.shape;
  const auto zero = [](double* out, int64_t size) {
    if (out != nullptr) std::fill_n(out, size, 0.0);
  };
  const int64_t bh = s.batch * s.heads, rows = bh * s.tokens;
  zero(args.loss_BH, bh);
  zero(args.grad_c_BHTN, rows * s.state_size);
  zero(args.grad_b_BHTN, rows * s.state_size);
  zero(args.grad_log_decay_BHT, rows);
  zero(args.grad_dt_BHT, rows);
  zero(args.grad_d_BH, bh);
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t h = 0; h < s.heads; ++h) HeadRef(args, b, h);
  }
}

}  // namespace retort
