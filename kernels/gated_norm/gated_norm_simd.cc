// Two sweeps over a group, the second out of the first-level cache. Between them an output row holds what the
// second needs again: u in y, the sigmoids in dz.
#include "kernels/gated_norm/gated_norm_simd.h"

#include "kernels/base/simd.h"

namespace retort::RETORT_ISA {
namespace {

// Calls body(i, load, store) for each vector of `width` floats.
template <class Body>
__attribute__((always_inline)) inline void ForEachVector(int64_t width, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    body(
        i, [](const float* from) __attribute__((always_inline)) { return Load(from); },
        [](float* to, Float value) __attribute__((always_inline)) { Store(to, value); });
  }
  const int64_t rest = width - i;
  if (rest == 0) return;
  body(
      i, [rest](const float* from) __attribute__((always_inline)) { return LoadFirst(from, rest); },
      [rest](float* to, Float value) __attribute__((always_inline)) { StoreFirst(to, value, rest); });
}

float ForwardGroup(int64_t width, float eps, const float* x, const float* z, const float* weight, float* y) {
  Float squares = Broadcast(0.0f);
  ForEachVector(
      width, [&](int64_t i, auto load, auto store) __attribute__((always_inline)) {
        const Float gate = load(z + i), u = load(x + i) * (gate * Sigmoid(gate));
        squares = MulAdd(u, u, squares);
        store(y + i, u);
      });
  const float r = 1.0f / __builtin_sqrtf(Sum(squares) / static_cast<float>(width) + eps);
  ForEachVector(
      width, [&](int64_t i, auto load, auto store) __attribute__((always_inline)) {
        store(y + i, load(weight + i) * (load(y + i) * Broadcast(r)));
      });
  return r;
}

void BackwardGroup(int64_t width, float r, const float* x, const float* z, const float* dy,
                   const float* weight, float* dx, float* dz, float* dweight) {
  Float dot = Broadcast(0.0f);
  ForEachVector(
      width, [&](int64_t i, auto load, auto store) __attribute__((always_inline)) {
        const Float gate = load(z + i), sigmoid = Sigmoid(gate), u = load(x + i) * (gate * sigmoid);
        const Float dy_u = load(dy + i) * (u * Broadcast(r));
        dot = MulAdd(dy_u, load(weight + i), dot);
        store(dz + i, sigmoid);
        store(dweight + i, load(dweight + i) + dy_u);
      });
  // sum(v u) r / n; the remaining r comes with u r.
  const Float mean = Broadcast(Sum(dot) / static_cast<float>(width));
  ForEachVector(
      width, [&](int64_t i, auto load, auto store) __attribute__((always_inline)) {
        const Float value = load(x + i), sigmoid = load(dz + i), silu = load(z + i) * sigmoid;
        const Float normed = value * silu * Broadcast(r);
        const Float du = NegMulAdd(normed, mean, load(dy + i) * load(weight + i)) * Broadcast(r);
        store(dx + i, du * silu);
        store(dz + i, du * value * MulAdd(silu, Broadcast(1.0f) - sigmoid, sigmoid));
      });
}

}  // namespace

void GatedNormForwardRows(const GatedNormForwardArgs& args, int64_t begin, int64_t end) {
  const auto& [rows, groups, width, eps] = args.shape;
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t channel = group * width;
      args.rstd_RG[row * groups + group] =
          ForwardGroup(width, eps, args.x.data + row * args.x.stride + channel,
                       args.z.data + row * args.z.stride + channel, args.weight_M + channel,
                       args.y_RM + row * groups * width + channel);
    }
  }
}

void GatedNormBackwardRows(const GatedNormBackwardArgs& args, int64_t begin, int64_t end, float* dweight_M) {
  const auto& [rows, groups, width, eps] = args.shape;
  for (int64_t channel = 0; channel < groups * width; ++channel) dweight_M[channel] = 0;
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t channel = group * width, out = row * groups * width + channel;
      BackwardGroup(width, args.rstd_RG[row * groups + group], args.x.data + row * args.x.stride + channel,
                    args.z.data + row * args.z.stride + channel,
                    args.dy.data + row * args.dy.stride + channel, args.weight_M + channel, args.dx_RM + out,
                    args.dz_RM + out, dweight_M + channel);
    }
  }
}

}  // namespace retort::RETORT_ISA
