// Random problems for the tests of kernels/ssd, in float64 and float32 alike.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "kernels/ssd/ssd_ref.h"

namespace retort {

// All arrays of one problem, contiguous in the order of their suffixes.
template <class Real>
struct TestingSsd {
  SsdShape shape;
  bool with_d = true, with_states = true, with_dt = true;
  std::vector<Real> x, log_decay, dt, b, c, d, initial_state, dy, dfinal_state;
  std::vector<Real> y, final_state, chunk_states, dx, dlog_decay, ddt, db, dc, dd, dinitial_state;

  // Allocates the results.
  void Allocate() {
    y.resize(x.size());
    dx.resize(x.size());
    dlog_decay.resize(log_decay.size());
    ddt.resize(dt.size());
    db.resize(b.size());
    dc.resize(c.size());
    dd.resize(d.size());
    final_state.resize(initial_state.size());
    chunk_states.resize(initial_state.size() * SsdChunks(shape));
    dinitial_state.resize(initial_state.size());
  }
  template <class T>
  SsdArray<T> View(std::vector<Real>& data, int64_t heads, int64_t width) const {
    return {data.data(), shape.tokens * heads * width, heads * width, width};
  }
  SsdForwardArguments<Real> Forward() {
    const SsdShape& s = shape;
    return {s,
            View<const Real>(x, s.heads, s.width),
            View<const Real>(log_decay, s.heads, 1),
            View<const Real>(b, s.groups, s.state),
            View<const Real>(c, s.groups, s.state),
            with_d ? d.data() : nullptr,
            with_states ? initial_state.data() : nullptr,
            View<Real>(y, s.heads, s.width),
            final_state.data(),
            chunk_states.data(),
            with_dt ? View<const Real>(dt, s.heads, 1) : SsdArray<const Real>{}};
  }
  SsdBackwardArguments<Real> Backward() {
    const SsdShape& s = shape;
    return {s,
            View<const Real>(x, s.heads, s.width),
            View<const Real>(log_decay, s.heads, 1),
            View<const Real>(b, s.groups, s.state),
            View<const Real>(c, s.groups, s.state),
            with_d ? d.data() : nullptr,
            chunk_states.data(),
            View<const Real>(dy, s.heads, s.width),
            with_states ? dfinal_state.data() : nullptr,
            View<Real>(dx, s.heads, s.width),
            View<Real>(dlog_decay, s.heads, 1),
            View<Real>(db, s.groups, s.state),
            View<Real>(dc, s.groups, s.state),
            with_d ? dd.data() : nullptr,
            dinitial_state.data(),
            with_dt ? View<const Real>(dt, s.heads, 1) : SsdArray<const Real>{},
            with_dt ? View<Real>(ddt, s.heads, 1) : SsdArray<Real>{}};
  }
  std::vector<std::vector<Real>*> Inputs() {
    return {&x, &log_decay, &dt, &b, &c, &d, &initial_state, &dy, &dfinal_state};
  }
};

// Values are floats, whatever Real, so that both precisions compute the same problem. `log_decay` is called
// for each token.
template <class Real>
TestingSsd<Real> RandomSsd(const SsdShape& shape, uint64_t seed,
                           const std::function<float(int64_t)>& log_decay) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  TestingSsd<Real> problem;
  problem.shape = shape;
  const auto fill = [&](std::vector<Real>& values, int64_t count) {
    for (int64_t i = 0; i < count; ++i) values.push_back(normal(random));
  };
  const auto [B, T, H, G, P, N] = shape;
  fill(problem.x, B * T * H * P);
  fill(problem.b, B * T * G * N);
  fill(problem.c, B * T * G * N);
  fill(problem.d, H);
  fill(problem.initial_state, B * H * P * N);
  fill(problem.dy, B * T * H * P);
  fill(problem.dfinal_state, B * H * P * N);
  for (int64_t i = 0; i < B * T * H; ++i) problem.log_decay.push_back(log_decay(i / H % T));
  for (int64_t i = 0; i < B * T * H; ++i) problem.dt.push_back(0.25f * static_cast<float>(1 + i % 7));
  problem.Allocate();
  return problem;
}

}  // namespace retort
