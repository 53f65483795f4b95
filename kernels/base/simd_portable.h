// kernels/base/simd.h for any processor, on GCC's vector extensions.
#pragma once

#include <cstdint>
#include <cstring>

namespace retort::RETORT_ISA {

typedef float Float __attribute__((vector_size(16)));
typedef int32_t Int __attribute__((vector_size(16)));
constexpr int kLanes = 4;

inline Float Broadcast(float value) { return Float{value, value, value, value}; }
inline Float Load(const float* from) {
  Float value;
  memcpy(&value, from, sizeof(value));
  return value;
}
inline void Store(float* to, Float value) { memcpy(to, &value, sizeof(value)); }
inline void Stream(float* to, Float value) { Store(to, value); }
inline void FinishStreams() {}
inline Float LoadFirst(const float* from, int64_t count) {
  Float value = {};
  memcpy(&value, from, count * sizeof(float));
  return value;
}
inline void StoreFirst(float* to, Float value, int64_t count) { memcpy(to, &value, count * sizeof(float)); }
inline Float MulAdd(Float a, Float b, Float c) { return a * b + c; }
inline Float NegMulAdd(Float a, Float b, Float c) { return c - a * b; }
inline Float Max(Float a, Float b) { return a > b ? a : b; }
inline Float Min(Float a, Float b) { return a < b ? a : b; }
inline Float KeepFirst(Float value, int64_t count) {
  for (int i = 0; i < kLanes; ++i) {
    if (i >= count) value[i] = 0;
  }
  return value;
}
inline float Sum(Float value) { return (value[0] + value[2]) + (value[1] + value[3]); }
inline float MaxOf(Float value) {
  float most = value[0];
  for (int i = 1; i < kLanes; ++i) most = value[i] > most ? value[i] : most;
  return most;
}
inline Float Round(Float value) {
  const Float magic = Broadcast(12582912.0f);  // 1.5 * 2^23: adding it leaves no bits for a fraction
  return (value + magic) - magic;
}
inline Float ScaleByPowerOfTwo(Float value, Float exponent) {
  // In two halves: 2^128 is no float although value * 2^128 may be.
  const Int whole = __builtin_convertvector(exponent, Int), half = whole >> 1;
  const auto power = [](Int n) {
    const Int bits = (n + 127) << 23;
    Float result;
    memcpy(&result, &bits, sizeof(result));
    return result;
  };
  return value * power(half) * power(whole - half);
}
inline Float ZeroWhereLess(Float value, Float a, Float b) { return a < b ? Float{} : value; }

constexpr int kFours = 1;
inline Float RepeatFour(const float* from) { return Load(from); }
inline Float RepeatEach(const float* from) { return Broadcast(from[0]); }
inline void StoreFours(float* to, int64_t, Float value) { Store(to, value); }
inline Float SumsOfLanes(const Float (&terms)[kFours][4]) {
  return Float{Sum(terms[0][0]), Sum(terms[0][1]), Sum(terms[0][2]), Sum(terms[0][3])};
}

// A block of kTransposeBlock rows and as many columns.
constexpr int kTransposeBlock = 4;
inline void TransposeBlock(const float* from, int64_t from_row, float* to, int64_t to_row) {
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) to[j * to_row + i] = from[i * from_row + j];
  }
}

}  // namespace retort::RETORT_ISA
