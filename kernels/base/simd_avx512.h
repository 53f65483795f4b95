// kernels/base/simd.h for AVX-512.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace retort::RETORT_ISA {

using Float = __m512;
constexpr int kLanes = 16;

inline Float Broadcast(float value) { return _mm512_set1_ps(value); }
inline Float Load(const float* from) { return _mm512_loadu_ps(from); }
inline void Store(float* to, Float value) { _mm512_storeu_ps(to, value); }
inline void Stream(float* to, Float value) { _mm512_stream_ps(to, value); }
inline void FinishStreams() { _mm_sfence(); }
inline Float LoadFirst(const float* from, int64_t count) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
}
inline void StoreFirst(float* to, Float value, int64_t count) {
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), value);
}
inline Float MulAdd(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
inline Float NegMulAdd(Float a, Float b, Float c) { return _mm512_fnmadd_ps(a, b, c); }
inline Float Max(Float a, Float b) { return _mm512_max_ps(a, b); }
inline Float Min(Float a, Float b) { return _mm512_min_ps(a, b); }
inline Float KeepFirst(Float value, int64_t count) {
  const uint32_t mask = count >= kLanes ? 0xffffu : count <= 0 ? 0u : (1u << count) - 1;
  return _mm512_maskz_mov_ps(static_cast<__mmask16>(mask), value);
}
inline float Sum(Float value) { return _mm512_reduce_add_ps(value); }
inline float MaxOf(Float value) { return _mm512_reduce_max_ps(value); }
inline Float Round(Float value) { return _mm512_roundscale_ps(value, 8); }
inline Float ScaleByPowerOfTwo(Float value, Float exponent) { return _mm512_scalef_ps(value, exponent); }
inline Float ZeroWhereLess(Float value, Float a, Float b) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ), value);
}

constexpr int kFours = 4;
inline Float RepeatFour(const float* from) { return _mm512_broadcast_f32x4(_mm_loadu_ps(from)); }
inline Float RepeatEach(const float* from) {
  const __m512i row = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  return _mm512_permutexvar_ps(row, _mm512_castps128_ps512(_mm_loadu_ps(from)));
}
inline void StoreFours(float* to, int64_t to_row, Float value) {
  _mm_storeu_ps(to, _mm512_castps512_ps128(value));
  _mm_storeu_ps(to + to_row, _mm512_extractf32x4_ps(value, 1));
  _mm_storeu_ps(to + 2 * to_row, _mm512_extractf32x4_ps(value, 2));
  _mm_storeu_ps(to + 3 * to_row, _mm512_extractf32x4_ps(value, 3));
}
inline Float SumsOfLanes(const Float (&terms)[kFours][4]) {
  Float rows[4];  // of each row, the sums of every fourth lane
  for (int r = 0; r < 4; ++r) {
    const Float(&t)[4] = terms[r];
    const __m512d low = _mm512_castps_pd(_mm512_unpacklo_ps(t[0], t[1]) + _mm512_unpackhi_ps(t[0], t[1]));
    const __m512d high = _mm512_castps_pd(_mm512_unpacklo_ps(t[2], t[3]) + _mm512_unpackhi_ps(t[2], t[3]));
    rows[r] =
        _mm512_castpd_ps(_mm512_unpacklo_pd(low, high)) + _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
  }
  const auto halve = [](Float a, Float b) {
    return _mm512_shuffle_f32x4(a, b, 0x88) + _mm512_shuffle_f32x4(a, b, 0xdd);
  };
  return halve(halve(rows[0], rows[1]), halve(rows[2], rows[3]));
}

// A block of kTransposeBlock rows and as many columns.
constexpr int kTransposeBlock = 16;
inline void TransposeBlock(const float* from, int64_t from_row, float* to, int64_t to_row) {
  for (int column = 0; column < 16; column += 4) {
    // 128-bit lane l of a[r]: row 4 l + r, assembled by the loads, which leaves half of the shuffles.
    __m512 a[4];
    for (int r = 0; r < 4; ++r) {
      const float* const row = from + r * from_row + column;
      a[r] = _mm512_castps128_ps512(_mm_loadu_ps(row));
      a[r] = _mm512_mask_broadcast_f32x4(a[r], 0x00f0, _mm_loadu_ps(row + 4 * from_row));
      a[r] = _mm512_mask_broadcast_f32x4(a[r], 0x0f00, _mm_loadu_ps(row + 8 * from_row));
      a[r] = _mm512_mask_broadcast_f32x4(a[r], 0xf000, _mm_loadu_ps(row + 12 * from_row));
    }
    const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(a[0], a[1]));
    const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(a[2], a[3]));
    const __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(a[0], a[1]));
    const __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(a[2], a[3]));
    Store(to + column * to_row, _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23)));
    Store(to + (column + 1) * to_row, _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23)));
    Store(to + (column + 2) * to_row, _mm512_castpd_ps(_mm512_unpacklo_pd(high01, high23)));
    Store(to + (column + 3) * to_row, _mm512_castpd_ps(_mm512_unpackhi_pd(high01, high23)));
  }
}

}  // namespace retort::RETORT_ISA
