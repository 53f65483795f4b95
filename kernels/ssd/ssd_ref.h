// The recurrence of kernels/ssd/ssd.h, token by token, and its gradient by the reversed recurrence
//     R_t = exp(l_{t+1}) R_{t+1} + dy_t c_t^T      (R: the gradient of S_t)
// Obvious rather than fast; for tests. Real is float or double.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/ssd/ssd.h"

namespace retort {

template <class Real>
Real* At(const SsdArray<Real>& array, int64_t b, int64_t t, int64_t h) {
  return array.data + b * array.batch + t * array.token + h * array.head;
}

template <class Arguments>
auto StepSize(const Arguments& in, int64_t b, int64_t t, int64_t h) {
  return in.dt_BTH.data != nullptr ? *At(in.dt_BTH, b, t, h) : 1;
}

// The states before each token and after the last, [T + 1, P, N] for one batch entry and head, from the
// first, which may be null.
template <class Real, class Arguments>
std::vector<Real> SsdStatesReference(const Arguments& in, int64_t batch, int64_t head, const Real* initial) {
  const auto [B, T, H, G, P, N] = in.shape;
  std::vector<Real> states((T + 1) * P * N);
  if (initial != nullptr) std::copy(initial, initial + P * N, states.begin());
  for (int64_t t = 0; t < T; ++t) {
    const Real decay = std::exp(*At(in.log_decay_BTH, batch, t, head));
    const Real dt = StepSize(in, batch, t, head);
    const Real* const x = At(in.x_BTHP, batch, t, head);
    const Real* const b = At(in.b_BTGN, batch, t, head / (H / G));
    for (int64_t p = 0; p < P; ++p) {
      for (int64_t n = 0; n < N; ++n) {
        const Real before = states[(t * P + p) * N + n];
        states[((t + 1) * P + p) * N + n] = decay * before + dt * x[p] * b[n];
      }
    }
  }
  return states;
}

template <class Real>
void SsdForwardReference(const SsdForwardArguments<Real>& in) {
  const auto [B, T, H, G, P, N] = in.shape;
  for (int64_t batch = 0; batch < B; ++batch) {
    for (int64_t head = 0; head < H; ++head) {
      const int64_t state = (batch * H + head) * P * N;
      const std::vector<Real> states = SsdStatesReference<Real>(
          in, batch, head, in.initial_state_BHPN != nullptr ? in.initial_state_BHPN + state : nullptr);
      for (int64_t t = 0; t < T; ++t) {
        const Real* const c = At(in.c_BTGN, batch, t, head / (H / G));
        for (int64_t p = 0; p < P; ++p) {
          Real y = in.d_H != nullptr ? in.d_H[head] * At(in.x_BTHP, batch, t, head)[p] : Real(0);
          for (int64_t n = 0; n < N; ++n) y += states[((t + 1) * P + p) * N + n] * c[n];
          At(in.y_BTHP, batch, t, head)[p] = y;
        }
      }
      std::copy(states.end() - P * N, states.end(), in.final_state_BHPN + state);
      const int64_t chunks = SsdChunks(in.shape);
      for (int64_t i = 0; in.chunk_states_BHCNP != nullptr && i < chunks * P * N; ++i) {
        const int64_t chunk = i / (P * N), n = i / P % N, p = i % P;
        in.chunk_states_BHCNP[state * chunks + i] = states[(chunk * kSsdChunk * P + p) * N + n];
      }
    }
  }
}

// One batch entry and head; db, dc and dd are added to.
template <class Real>
void SsdBackwardReference(const SsdBackwardArguments<Real>& in, int64_t batch, int64_t head) {
  const auto [B, T, H, G, P, N] = in.shape;
  const int64_t group = head / (H / G);
  std::vector<Real> first(P * N);
  for (int64_t i = 0; T > 0 && i < P * N; ++i) {
    first[i] = in.chunk_states_BHCNP[(batch * H + head) * SsdChunks(in.shape) * P * N + i % N * P + i / N];
  }
  const std::vector<Real> states = SsdStatesReference<Real>(in, batch, head, first.data());
  std::vector<Real> gradient(P * N);
  if (in.dfinal_state_BHPN != nullptr) {
    const Real* const last = in.dfinal_state_BHPN + (batch * H + head) * P * N;
    gradient.assign(last, last + P * N);
  }
  for (int64_t t = T - 1; t >= 0; --t) {
    const Real decay = std::exp(*At(in.log_decay_BTH, batch, t, head));
    const Real *const x = At(in.x_BTHP, batch, t, head), *const dy = At(in.dy_BTHP, batch, t, head);
    const Real *const b = At(in.b_BTGN, batch, t, group), *const c = At(in.c_BTGN, batch, t, group);
    Real* const dx = At(in.dx_BTHP, batch, t, head);
    Real *const db = At(in.db_BTGN, batch, t, group), *const dc = At(in.dc_BTGN, batch, t, group);
    const Real dt = StepSize(in, batch, t, head);
    Real ddecay = 0, ddt = 0;
    for (int64_t p = 0; p < P; ++p) {
      dx[p] = in.d_H != nullptr ? in.d_H[head] * dy[p] : Real(0);
      if (in.d_H != nullptr) in.dd_H[head] += dy[p] * x[p];
      for (int64_t n = 0; n < N; ++n) {
        Real& r = gradient[p * N + n];
        r += dy[p] * c[n];
        dx[p] += r * dt * b[n];
        db[n] += r * dt * x[p];
        ddt += r * x[p] * b[n];
        dc[n] += states[((t + 1) * P + p) * N + n] * dy[p];
        ddecay += r * states[(t * P + p) * N + n];
        r *= decay;
      }
    }
    *At(in.dlog_decay_BTH, batch, t, head) = decay * ddecay;
    if (in.ddt_BTH.data != nullptr) *At(in.ddt_BTH, batch, t, head) = ddt;
  }
  if (in.dinitial_state_BHPN != nullptr) {
    std::copy(gradient.begin(), gradient.end(), in.dinitial_state_BHPN + (batch * H + head) * P * N);
  }
}

template <class Real>
void SsdBackwardReference(const SsdBackwardArguments<Real>& in) {
  const SsdShape& s = in.shape;
  for (int64_t batch = 0; batch < s.batch; ++batch) {
    for (int64_t t = 0; t < s.tokens; ++t) {
      for (int64_t g = 0; g < s.groups; ++g) {
        std::fill_n(At(in.db_BTGN, batch, t, g), s.state, Real(0));
        std::fill_n(At(in.dc_BTGN, batch, t, g), s.state, Real(0));
      }
    }
  }
  if (in.dd_H != nullptr) std::fill_n(in.dd_H, s.heads, Real(0));
  for (int64_t batch = 0; batch < s.batch; ++batch) {
    for (int64_t head = 0; head < s.heads; ++head) SsdBackwardReference(in, batch, head);
  }
}

}  // namespace retort
