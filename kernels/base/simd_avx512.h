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

// A block of kTransposeBlock rows and as many columns.
constexpr int kTransposeBlock = 16;
inline void TransposeBlock(const float* from, int64_t from_row, float* to, int64_t to_row) {
  __m512 a[16], b[16];
  for (int i = 0; i < 16; ++i) a[i] = Load(from + i * from_row);
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    for (int half = 0; half < 2; ++half) {
      const __m512d low = _mm512_castps_pd(b[i + half]), high = _mm512_castps_pd(b[i + 2 + half]);
      a[i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
      a[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
    }
  }
  // a[4 r + c] now holds, in its 128-bit lane l, rows 4 r ... 4 r + 3 of column 4 l + c.
  for (int c = 0; c < 4; ++c) {
    const __m512 low02 = _mm512_shuffle_f32x4(a[c], a[4 + c], 0x88);
    const __m512 low13 = _mm512_shuffle_f32x4(a[c], a[4 + c], 0xdd);
    const __m512 high02 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0x88);
    const __m512 high13 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0xdd);
    Store(to + c * to_row, _mm512_shuffle_f32x4(low02, high02, 0x88));
    Store(to + (4 + c) * to_row, _mm512_shuffle_f32x4(low13, high13, 0x88));
    Store(to + (8 + c) * to_row, _mm512_shuffle_f32x4(low02, high02, 0xdd));
    Store(to + (12 + c) * to_row, _mm512_shuffle_f32x4(low13, high13, 0xdd));
  }
}

}  // namespace retort::RETORT_ISA
