#include "kernels/largest_magnitude/largest_magnitude_simd.h"

#include "kernels/base/simd.h"

namespace retort::RETORT_ISA {

float LargestMagnitudeOf(const float* x, int64_t count) {
  // Four chains each hide an addition's latency. x * 0 is 0 for finite x alone, and NaN stays in a sum.
  constexpr int64_t kChains = 4;
  const Float zero = Broadcast(0.0f);
  Float most[kChains] = {zero, zero, zero, zero}, finite[kChains] = {zero, zero, zero, zero};
  const auto add = [&](Float value, int64_t chain) __attribute__((always_inline)) {
    most[chain] = Max(most[chain], Max(value, zero - value));
    finite[chain] = MulAdd(value, zero, finite[chain]);
  };
  int64_t i = 0;
  for (; i + kChains * kLanes <= count; i += kChains * kLanes) {
    for (int64_t chain = 0; chain < kChains; ++chain) add(Load(x + i + chain * kLanes), chain);
  }
  ForEachVector(
      count - i, [&](int64_t j, auto load, auto) __attribute__((always_inline)) { add(load(x + i + j), 0); });
  const Float all_finite = (finite[0] + finite[1]) + (finite[2] + finite[3]);
  return MaxOf(Max(Max(most[0], most[1]), Max(most[2], most[3]))) + Sum(all_finite);
}

}  // namespace retort::RETORT_ISA
