// A run of the vocabulary, and products that fetch what comes next. For lm_head_kd's SIMD sources.
#pragma once

#include "kernels/base/tile.h"
#include "kernels/lm_head_kd/lm_head_kd_simd.h"

namespace retort::RETORT_ISA {

struct Run {
  int64_t index, first, rows;
};

// Without rows past the last run.
inline Run RunOf(const LmHeadKdWork& work, int64_t index) {
  const int64_t first = index * kLmHeadKdRunRows, left = work.args.shape.vocabulary - first;
  return {index, first, left < kLmHeadKdRunRows ? (left < 0 ? 0 : left) : kLmHeadKdRunRows};
}

inline int64_t FirstRun(const LmHeadKdWork& work, int64_t group) { return group * work.runs / work.groups; }

// Fetches rows of a matrix into the second-level cache, a few lines at a time between products: all at once
// they would stall the core behind its outstanding misses, and what the hardware foresees ends with each of
// the short rows of a block.
class RowPrefetcher {
 public:
  RowPrefetcher(const float* from, int64_t from_row, int64_t rows, int64_t columns)
      : from_(from), from_row_(from_row), rows_(rows), columns_(columns) {}

  __attribute__((always_inline)) void Fetch(int64_t lines) {
    for (; lines > 0 && rows_ > 0; --lines) {
      __builtin_prefetch(from_ + column_, 0, /*locality=*/2);
      column_ += kLine;
      if (column_ < columns_) continue;
      column_ = 0;
      from_ += from_row_;
      --rows_;
    }
  }

 private:
  static constexpr int64_t kLine = 16;
  const float* from_;
  int64_t from_row_, rows_, columns_, column_ = 0;
};

// tile += a b, `lines` fetched every 32 steps of k.
template <class Tile>
__attribute__((always_inline)) inline void AddProductAndFetch(Tile& tile, int64_t k, Operand a,
                                                              const float* b, int64_t b_row,
                                                              RowPrefetcher& prefetcher, int64_t lines) {
  constexpr int64_t kSteps = 32;
  for (; k > kSteps; k -= kSteps) {
    prefetcher.Fetch(lines);
    tile.AddProduct(kSteps, a, b, b_row);
    a.data += kSteps * a.column;
    b += kSteps * b_row;
  }
  prefetcher.Fetch(lines);
  tile.AddProduct(k, a, b, b_row);
}

}  // namespace retort::RETORT_ISA
