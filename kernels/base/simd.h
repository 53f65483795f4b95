// Vectors of floats for SIMD sources: files that retort_simd_sources compiles once per instruction set, each
// time with RETORT_ISA naming the namespace that everything here lives in. `Float` holds kLanes floats and
// has the arithmetic operators. Such files include nothing with inline code from outside these namespaces (no
// standard containers or algorithms): the linker would keep one copy, perhaps one that the processor lacks.
//
//   Load, Store                 kLanes floats, any alignment
//   Stream, FinishStreams       Store past the caches where the instruction set can, to an address that is a
//                               multiple of a vector's size; others see it after FinishStreams
//   LoadFirst, StoreFirst       `count` in [0, kLanes]; the rest reads as 0 and is not touched
//   KeepFirst                   zeroes all lanes from `count` on; any count
//   MulAdd, NegMulAdd           a b + c and c - a b, fused where the instruction set can
//   Max, Min                    the second operand where one is NaN
//   Sum, MaxOf                  across lanes, in a fixed order
//   ZeroWhereLess               0 where a < b, else value (value where a or b is NaN)
//   TransposeBlock              kTransposeBlock x kTransposeBlock floats between row strides
//   ForEachVector               all vectors of a row, the last one shorter
// A vector also stands for kFours rows of four floats:
//   RepeatFour, RepeatEach      from[column] and from[row] in every row and column
//   StoreFours                  row r to to + r * to_row
//   SumsOfLanes                 at every row and column the sum of the lanes of terms[row][column]
#pragma once

#ifndef RETORT_ISA
#error "compile this file through retort_simd_sources"
#endif

#if defined(__AVX512F__)
#include "kernels/base/simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "kernels/base/simd_avx2.h"
#else
#include "kernels/base/simd_portable.h"
#endif

namespace retort::RETORT_ISA {

// exp with a relative error below 2e-7. Results under the smallest normal float (x < -87.3365) are 0, so
// Exp(-inf) = 0; above 88.7228 infinity; NaN stays NaN.
inline Float Exp(Float x) {
  // x = n ln 2 + f, |f| <= ln 2 / 2; ln 2 in two parts, the first exact times n. Cephes' polynomial.
  const Float lowest = Broadcast(-87.336544f);
  const Float bounded = Min(Broadcast(89.0f), Max(lowest, x));
  const Float n = Round(bounded * Broadcast(1.44269504f));
  Float f = NegMulAdd(n, Broadcast(0.693359375f), bounded);
  f = NegMulAdd(n, Broadcast(-2.12194440e-4f), f);
  Float p = Broadcast(1.9875691500e-4f);
  p = MulAdd(p, f, Broadcast(1.3981999507e-3f));
  p = MulAdd(p, f, Broadcast(8.3334519073e-3f));
  p = MulAdd(p, f, Broadcast(4.1665795894e-2f));
  p = MulAdd(p, f, Broadcast(1.6666665459e-1f));
  p = MulAdd(p, f, Broadcast(5.0000001201e-1f));
  p = MulAdd(f * f, p, f + Broadcast(1.0f));
  return ZeroWhereLess(ScaleByPowerOfTwo(p, n), x, lowest);
}

// 1 / (1 + exp(-x)), for any x.
inline Float Sigmoid(Float x) {
  const Float one = Broadcast(1.0f);
  return one / (one + Exp(Broadcast(0.0f) - x));
}

// Calls body(i, load, store) for each vector of `count` floats; load(from) and store(to, value) keep to
// those.
template <class Body>
__attribute__((always_inline)) inline void ForEachVector(int64_t count, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    body(
        i, [](const float* from) __attribute__((always_inline)) { return Load(from); },
        [](float* to, Float value) __attribute__((always_inline)) { Store(to, value); });
  }
  const int64_t rest = count - i;
  if (rest == 0) return;
  body(
      i, [rest](const float* from) __attribute__((always_inline)) { return LoadFirst(from, rest); },
      [rest](float* to, Float value) __attribute__((always_inline)) { StoreFirst(to, value, rest); });
}

}  // namespace retort::RETORT_ISA
