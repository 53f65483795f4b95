// kernels/base/simd.h for AVX2 with FMA.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace retort::RETORT_ISA {

using Float = __m256;
constexpr int kLanes = 8;

inline Float Broadcast(float value) { return _mm256_set1_ps(value); }
inline Float Load(const float* from) { return _mm256_loadu_ps(from); }
inline void Store(float* to, Float value) { _mm256_storeu_ps(to, value); }
inline __m256i FirstMask(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline void Stream(float* to, Float value) { _mm256_stream_ps(to, value); }
inline void FinishStreams() { _mm_sfence(); }
inline Float LoadFirst(const float* from, int64_t count) {
  return _mm256_maskload_ps(from, FirstMask(count));
}
inline void StoreFirst(float* to, Float value, int64_t count) {
  _mm256_maskstore_ps(to, FirstMask(count), value);
}
inline Float MulAdd(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
inline Float NegMulAdd(Float a, Float b, Float c) { return _mm256_fnmadd_ps(a, b, c); }
inline Float Max(Float a, Float b) { return _mm256_max_ps(a, b); }
inline Float Min(Float a, Float b) { return _mm256_min_ps(a, b); }
inline Float KeepFirst(Float value, int64_t count) {
  const int64_t clamped = count > kLanes ? kLanes : count < 0 ? 0 : count;
  return _mm256_and_ps(value, _mm256_castsi256_ps(FirstMask(clamped)));
}
inline float Sum(Float value) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps(value, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}
inline float MaxOf(Float value) {
  __m128 most = _mm_max_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps(value, 1));
  most = _mm_max_ps(most, _mm_movehl_ps(most, most));
  return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
}
inline Float Round(Float value) { return _mm256_round_ps(value, 8); }
inline Float ScaleByPowerOfTwo(Float value, Float exponent) {
  // In two halves: 2^128 is no float although value * 2^128 may be.
  const __m256i whole = _mm256_cvtps_epi32(exponent), half = _mm256_srai_epi32(whole, 1);
  const auto power = [](__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  };
  return value * power(half) * power(_mm256_sub_epi32(whole, half));
}
inline Float ZeroWhereLess(Float value, Float a, Float b) {
  return _mm256_and_ps(value, _mm256_cmp_ps(a, b, _CMP_NLT_UQ));
}

constexpr int kFours = 2;
inline Float RepeatFour(const float* from) {
  return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(from));
}
inline Float RepeatEach(const float* from) {
  return _mm256_setr_m128(_mm_set1_ps(from[0]), _mm_set1_ps(from[1]));
}
inline void StoreFours(float* to, int64_t to_row, Float value) {
  _mm256_storeu2_m128(to + to_row, to, value);
}
inline Float SumsOfLanes(const Float (&terms)[kFours][4]) {
  Float rows[2];  // of each row, the sums of every fourth lane
  for (int r = 0; r < 2; ++r) {
    const Float(&t)[4] = terms[r];
    const __m256d low = _mm256_castps_pd(_mm256_unpacklo_ps(t[0], t[1]) + _mm256_unpackhi_ps(t[0], t[1]));
    const __m256d high = _mm256_castps_pd(_mm256_unpacklo_ps(t[2], t[3]) + _mm256_unpackhi_ps(t[2], t[3]));
    rows[r] =
        _mm256_castpd_ps(_mm256_unpacklo_pd(low, high)) + _mm256_castpd_ps(_mm256_unpackhi_pd(low, high));
  }
  return _mm256_permute2f128_ps(rows[0], rows[1], 0x20) + _mm256_permute2f128_ps(rows[0], rows[1], 0x31);
}

// A block of kTransposeBlock rows and as many columns.
constexpr int kTransposeBlock = 8;
inline void TransposeBlock(const float* from, int64_t from_row, float* to, int64_t to_row) {
  __m256 a[8], b[8];
  for (int i = 0; i < 8; ++i) a[i] = Load(from + i * from_row);
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
    a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
    a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
    a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
  }
  for (int c = 0; c < 4; ++c) {
    Store(to + c * to_row, _mm256_permute2f128_ps(a[c], a[4 + c], 0x20));
    Store(to + (4 + c) * to_row, _mm256_permute2f128_ps(a[c], a[4 + c], 0x31));
  }
}

}  // namespace retort::RETORT_ISA
