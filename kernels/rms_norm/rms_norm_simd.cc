// Two sweeps over a group, the second out of the first-level cache. Between them an output row of the gated
// norm holds what the second needs again: u in y, the sigmoids in dz.
#include "kernels/rms_norm/rms_norm_simd.h"

#include "kernels/base/simd.h"

namespace retort::RETORT_ISA {
namespace {

template <bool kGated>
float ForwardGroup(int64_t width, float eps, const float* x, const float* z, const float* weight, float* y) {
  Float squares = Broadcast(0.0f);
  ForEachVector(
      width, [&](int64_t i, auto load, auto store) __attribute__((always_inline)) {
        Float u = load(x + i);
        if constexpr (kGated) {
          const Float gate = load(z + i);
          u = u * (gate * Sigmoid(gate));
          store(y + i, u);
        }
        squares = MulAdd(u, u, squares);
      });
  const float r = 1.0f / __builtin_sqrtf(Sum(squares) / static_cast<float>(width) + eps);
  const float* u = kGated ? y : x;
  ForEachVector(
      width, [&](int64_t i, auto load, auto store) __attribute__((always_inline)) {
        store(y + i, load(weight + i) * (load(u + i) * Broadcast(r)));
      });
  return r;
}

template <bool kGated>
void BackwardGroup(int64_t width, float r, const float* x, const float* z, const float* dy,
                   const float* weight, float* dx, float* dz, float* dweight) {
  Float dot = Broadcast(0.0f);
  ForEachVector(
      width, [&](int64_t i, auto load, auto store) __attribute__((always_inline)) {
        Float u = load(x + i);
        if constexpr (kGated) {
          const Float gate = load(z + i), sigmoid = Sigmoid(gate);
          u = u * (gate * sigmoid);
          store(dz + i, sigmoid);
        }
        const Float dy_u = load(dy + i) * (u * Broadcast(r));
        dot = MulAdd(dy_u, load(weight + i), dot);
        store(dweight + i, load(dweight + i) + dy_u);
      });
  // sum(v u) r / n; the remaining r comes with u r.
  const Float mean = Broadcast(Sum(dot) / static_cast<float>(width));
  ForEachVector(
      width, [&](int64_t i, auto load, auto store) __attribute__((always_inline)) {
        const Float value = load(x + i), v = load(dy + i) * load(weight + i);
        if constexpr (kGated) {
          const Float sigmoid = load(dz + i), silu = load(z + i) * sigmoid;
          const Float du = NegMulAdd(value * silu * Broadcast(r), mean, v) * Broadcast(r);
          store(dx + i, du * silu);
          store(dz + i, du * value * MulAdd(silu, Broadcast(1.0f) - sigmoid, sigmoid));
        } else {
          store(dx + i, NegMulAdd(value * Broadcast(r), mean, v) * Broadcast(r));
        }
      });
}

template <bool kGated>
void ForwardRows(const RmsNormForwardArgs& args, int64_t begin, int64_t end) {
  const auto& [rows, groups, width, eps] = args.shape;
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t channel = group * width;
      args.rstd_RG[row * groups + group] =
          ForwardGroup<kGated>(width, eps, args.x.data + row * args.x.stride + channel,
                               kGated ? args.z.data + row * args.z.stride + channel : nullptr,
                               args.weight_M + channel, args.y_RM + row * groups * width + channel);
    }
  }
}

template <bool kGated>
void BackwardRows(const RmsNormBackwardArgs& args, int64_t begin, int64_t end, float* dweight_M) {
  const auto& [rows, groups, width, eps] = args.shape;
  for (int64_t channel = 0; channel < groups * width; ++channel) dweight_M[channel] = 0;
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t channel = group * width, out = row * groups * width + channel;
      BackwardGroup<kGated>(width, args.rstd_RG[row * groups + group],
                            args.x.data + row * args.x.stride + channel,
                            kGated ? args.z.data + row * args.z.stride + channel : nullptr,
                            args.dy.data + row * args.dy.stride + channel, args.weight_M + channel,
                            args.dx_RM + out, kGated ? args.dz_RM + out : nullptr, dweight_M + channel);
    }
  }
}

}  // namespace

void RmsNormForwardRows(const RmsNormForwardArgs& args, int64_t begin, int64_t end) {
  return args.z.data == nullptr ? ForwardRows<false>(args, begin, end) : ForwardRows<true>(args, begin, end);
}

void RmsNormBackwardRows(const RmsNormBackwardArgs& args, int64_t begin, int64_t end, float* dweight_M) {
  return args.z.data == nullptr ? BackwardRows<false>(args, begin, end, dweight_M)
                                : BackwardRows<true>(args, begin, end, dweight_M);
}

}  // namespace retort::RETORT_ISA
