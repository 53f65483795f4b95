#include "kernels/base/simd.h"
#include "tests/bench/peak.h"

namespace retort::RETORT_ISA {

double BurnFlops(int64_t rounds) {
  constexpr int kChains = 12;  // more than latency times throughput
  Float sums[kChains];
  for (Float& sum : sums) sum = Broadcast(1.0f);
  const Float a = Broadcast(0.999f), b = Broadcast(1e-3f);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (Float& sum : sums) sum = MulAdd(sum, a, b);
  }
  Float total = sums[0];
  for (int i = 1; i < kChains; ++i) total = total + sums[i];
  // The sum goes into the result, so that the compiler keeps the loop; it changes nothing.
  return 2.0 * kLanes * kChains * static_cast<double>(rounds) + 0.0 * Sum(total);
}

}  // namespace retort::RETORT_ISA
