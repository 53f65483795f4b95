#include "kernels/row_distance/row_distance_simd.h"

#include "kernels/base/simd.h"

namespace retort::RETORT_ISA {

void RowDistanceRows(const RowDistanceArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float *const s = args.s_RE + row * args.s_row, *const t = args.t_RE + row * args.t_row;
    float* const direction = args.direction_RE + row * args.width;
    Float squares = Broadcast(0.0f);
    ForEachVector(
        args.width, [&](int64_t i, auto load, auto store) __attribute__((always_inline)) {
          const Float difference = load(s + i) - load(t + i);
          squares = MulAdd(difference, difference, squares);
          store(direction + i, difference);
        });
    const float distance = __builtin_sqrtf(Sum(squares));
    args.distance_R[row] = distance;
    const Float inverse = Broadcast(distance == 0.0f ? 0.0f : 1.0f / distance);
    ForEachVector(
        args.width, [&](int64_t i, auto load, auto store) __attribute__((always_inline)) {
          store(direction + i, load(direction + i) * inverse);
        });
  }
}

}  // namespace retort::RETORT_ISA
