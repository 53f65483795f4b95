#include "kernels/step_sizes/step_sizes_simd.h"

#include "kernels/base/simd.h"

namespace retort::RETORT_ISA {
namespace {

// log(1 + exp(v)) = max(v, 0) + log(1 + e) for e = exp(-|v|) <= 1, and log(1 + e) = 2 atanh(e / (2 + e)),
// whose series in q = e / (2 + e) <= 1/3 is cut off at q^17 / 17.
Float Softplus(Float v) {
  const Float zero = Broadcast(0.0f), e = Exp(zero - Max(v, zero - v)), q = e / (Broadcast(2.0f) + e),
              q2 = q * q;
  Float series = Broadcast(1.0f / 15);
  for (const float term : {1.0f / 13, 1.0f / 11, 1.0f / 9, 1.0f / 7, 1.0f / 5, 1.0f / 3, 1.0f}) {
    series = MulAdd(series, q2, Broadcast(term));
  }
  return MulAdd(q + q, series, Max(zero, v));  // in this order a NaN stays one
}

}  // namespace

void StepSizesForwardRows(const StepSizesForwardArgs& args, const float* rates_H, int64_t begin,
                          int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* const raw = args.raw_RH + row * args.raw_row;
    float *const dt = args.dt_RH + row * args.heads, *const log_decay = args.log_decay_RH + row * args.heads;
    ForEachVector(
        args.heads, [&](int64_t h, auto load, auto store) __attribute__((always_inline)) {
          const Float size = Softplus(load(raw + h) + load(args.bias_H + h));
          store(dt + h, size);
          store(log_decay + h, Broadcast(0.0f) - load(rates_H + h) * size);
        });
  }
}

void StepSizesBackwardRows(const StepSizesBackwardArgs& args, const float* rates_H, int64_t begin,
                           int64_t end, float* sums_2H) {
  float *const dbias = sums_2H, *const da_log = sums_2H + args.heads;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t at = row * args.heads;
    const float *const raw = args.raw_RH + row * args.raw_row, *const log_decay = args.log_decay_RH + at,
                       *const ddt = args.ddt_RH + at, *const dlog_decay = args.dlog_decay_RH + at;
    float* const draw = args.draw_RH + row * args.draw_row;
    ForEachVector(
        args.heads, [&](int64_t h, auto load, auto store) __attribute__((always_inline)) {
          const Float dl = load(dlog_decay + h), slope = NegMulAdd(load(rates_H + h), dl, load(ddt + h));
          const Float gradient = slope * Sigmoid(load(raw + h) + load(args.bias_H + h));
          store(draw + h, gradient);
          store(dbias + h, load(dbias + h) + gradient);
          store(da_log + h, MulAdd(dl, load(log_decay + h), load(da_log + h)));
        });
  }
}

}  // namespace retort::RETORT_ISA
