// What the forward and the backward kernel do to one chunk of Q tokens before its products: 32 backwards
// (kSsdChunk), 16 forwards, where all that a chunk of P = N = 64 touches then stays in the first-level cache.
// For SIMD sources. Rows are tokens; packed rows are padded with zeros to a multiple of 16 columns, and a
// short last chunk with zero tokens of log-decay 0, which leave the state alone.
#pragma once

#include "kernels/base/tile.h"
#include "kernels/ssd/ssd_simd.h"

namespace retort::RETORT_ISA {

constexpr int64_t kBlock = 16;

// Copies `count` <= rows rows of `width` floats to to[rows, padded].
inline void PackRows(int64_t rows, const float* from, int64_t from_row, int64_t count, int64_t width,
                     int64_t padded, float* to) {
  for (int64_t t = 0; t < count; ++t) {
    const float* const row = from + t * from_row;
    int64_t j = 0;
    for (; j + kLanes <= width; j += kLanes) Store(to + t * padded + j, Load(row + j));
    if (j < width) Store(to + t * padded + j, LoadFirst(row + j, width - j));
    for (j += j < width ? kLanes : 0; j < padded; j += kLanes) Store(to + t * padded + j, Broadcast(0.0f));
  }
  for (int64_t i = count * padded; i < rows * padded; i += kLanes) Store(to + i, Broadcast(0.0f));
}

// Fetches what the chunk after this one reads, some lines at a time between this one's products: rows of one
// head lie a page apart, which no hardware prefetcher foresees, and all at once they would fill the core's
// queue of outstanding misses and stall it. Into the first-level cache: fetches that end in the second come
// late for a millisecond and more after other code has run (docs/kernels.md).
class RowPrefetcher {
 public:
  // `rows` rows of `width` floats; at most kArrays calls.
  void Add(const float* from, int64_t from_row, int64_t width, int64_t rows) {
    arrays_[count_++] = {from, from_row, width, rows};
  }
  void AddContiguous(const float* from, int64_t floats) {
    constexpr int64_t kRow = 4 * kLine;
    Add(from, kRow, kRow, (floats + kRow - 1) / kRow);
  }
  // Whole rows, of `lines` lines together or a little more.
  void Fetch(int64_t lines) {
    for (; lines > 0 && array_ < count_;) {
      Array& array = arrays_[array_];
      const auto [first, row, width, rows] = array;
      const float* from = first;
      int64_t left = rows;
      for (; left > 0 && lines > 0; --left, from += row) {
        for (int64_t column = 0; column < width; column += kLine, --lines) {
          __builtin_prefetch(from + column, 0, /*locality=*/3);
        }
      }
      array.from = from;
      array.rows = left;
      if (left == 0) ++array_;
    }
  }

 private:
  struct Array {
    const float* from;
    int64_t row, width, rows;
  };
  static constexpr int64_t kArrays = 8, kLine = 16;
  Array arrays_[kArrays];
  int64_t count_ = 0, array_ = 0;
};

// Copies kRows rows of `width` floats, a multiple of kBlock, each times its factor.
template <int64_t kRows>
inline void ScaleRows(const float* factors, const float* from, int64_t from_row, int64_t width, float* to) {
  for (int64_t i = 0; i < kRows; ++i) {
    const Float factor = Broadcast(factors[i]);
    for (int64_t j = 0; j < width; j += kLanes) {
      Store(to + i * width + j, factor * Load(from + i * from_row + j));
    }
  }
}

// Copies `count` rows of `width` floats.
inline void CopyRows(const float* from, int64_t from_row, int64_t count, int64_t width, float* to,
                     int64_t to_row) {
  for (int64_t t = 0; t < count; ++t) {
    int64_t j = 0;
    for (; j + kLanes <= width; j += kLanes) Store(to + t * to_row + j, Load(from + t * from_row + j));
    if (j < width) StoreFirst(to + t * to_row + j, LoadFirst(from + t * from_row + j, width - j), width - j);
  }
}

// Decays within a chunk, cs_i = l_0 + ... + l_i. Sums are kept as high + low so that a difference of two is
// exact to float's precision relative to itself: a hard reset does not cost its neighbours their digits.
template <int64_t kTokens>
struct ChunkDecays {
  static constexpr int64_t kQ = kTokens;
  float from_start[kQ];         // exp(cs_i)
  float to_end[kQ];             // exp(cs_{Q-1} - cs_i)
  float total;                  // exp(cs_{Q-1})
  float dt[kQ], to_end_dt[kQ];  // to_end_dt = to_end dt
  float high[kQ], low[kQ];
  bool valid = true;  // no log-decay above 0
  // Blocks of 16 tokens: exp(cs_i - cs_r) and exp(cs_r - cs_j) for the last token r of j's block.
  float row_factor[kQ / kBlock][kQ], column_factor[kQ];

  ChunkDecays() = default;
  // `step_size` is null where all are 1.
  ChunkDecays(const float* log_decay, int64_t stride, const float* step_size, int64_t step_size_stride,
              int64_t count) {
    constexpr float kForgets = -1e4f;  // exp of this and of everything below is 0; -inf - -inf would be NaN
    double sum = 0;
    for (int64_t i = 0; i < kQ; ++i) {
      if (i < count) {
        const float l = log_decay[i * stride];
        valid = valid && !(l > 0);
        sum += l < kForgets ? kForgets : l;
      }
      high[i] = static_cast<float>(sum);
      low[i] = static_cast<float>(sum - high[i]);
      dt[i] = i < count && step_size != nullptr ? step_size[i * step_size_stride] : 1.0f;
    }
    for (int64_t i = 0; i < kQ; i += kLanes) {
      const int64_t reference = i / kBlock * kBlock + kBlock - 1;
      Store(from_start + i, Exp(Load(high + i)));
      Store(to_end + i, Exp(Difference(Broadcast(high[kQ - 1]), Broadcast(low[kQ - 1]), i)));
      Store(to_end_dt + i, Load(to_end + i) * Load(dt + i));
      Store(column_factor + i, Exp(Difference(Broadcast(high[reference]), Broadcast(low[reference]), i)));
      for (int64_t block = 0; block < i / kBlock; ++block) {
        const int64_t last = block * kBlock + kBlock - 1;
        const Float high_part = Load(high + i) - Broadcast(high[last]);
        Store(row_factor[block] + i, Exp(high_part + (Load(low + i) - Broadcast(low[last]))));
      }
    }
    total = from_start[kQ - 1];
  }

  // (high + low) - cs_j for the vector of j from `first` on.
  Float Difference(Float other_high, Float other_low, int64_t first) const {
    return (other_high - Load(high + first)) + (other_low - Load(low + first));
  }

  // The block L_ij of kFours rows from i and 4 columns from j on; as ForEachLower above the diagonal.
  Float LowerBlock(int64_t i, int64_t j) const {
    return Exp((RepeatEach(high + i) - RepeatFour(high + j)) + (RepeatEach(low + i) - RepeatFour(low + j)));
  }

  // Calls body(i, j, L) with vectors L_ij = exp(cs_i - cs_j) of row i from column j on, until they cover the
  // lower triangle, rows from the last to the first. Above the diagonal L is unspecified, perhaps infinite.
  template <class Body>
  __attribute__((always_inline)) void ForEachLower(const Body& body) const {
    for (int64_t i = kQ - 1; i >= 0; --i) {
      const int64_t diagonal = i / kBlock * kBlock;
      for (int64_t j = 0; j < diagonal; j += kLanes) {
        body(i, j, Broadcast(row_factor[j / kBlock][i]) * Load(column_factor + j));
      }
      const Float own_high = Broadcast(high[i]), own_low = Broadcast(low[i]);
      for (int64_t j = diagonal; j <= i; j += kLanes) body(i, j, Exp(Difference(own_high, own_low, j)));
    }
  }
};

// Calls body(i, j, G) with the blocks of kFours rows from i and 4 columns from j on of G = a b^T that cover
// its lower triangle; above it they reach at most 3 columns. a and b [kQ, k], k a multiple of kBlock. As dot
// products: a product by rows of b^T would transpose b, and take whole vectors of columns.
template <int64_t kQ, class Body>
__attribute__((always_inline)) inline void ForEachLowerDot(int64_t k, const float* a, int64_t a_row,
                                                           const float* b, int64_t b_row, const Body& body) {
  for (int64_t i = 0; i < kQ; i += kFours) {
    for (int64_t j = 0; j < i + kFours; j += 4) {
      Float terms[kFours][4];
      for (auto& row : terms) {
        for (Float& term : row) term = Broadcast(0.0f);
      }
      for (int64_t l = 0; l < k; l += kLanes) {
        Float right[4];
        for (int c = 0; c < 4; ++c) right[c] = Load(b + (j + c) * b_row + l);
        for (int r = 0; r < kFours; ++r) {
          const Float left = Load(a + (i + r) * a_row + l);
          for (int c = 0; c < 4; ++c) terms[r][c] = MulAdd(left, right[c], terms[r][c]);
        }
      }
      body(i, j, SumsOfLanes(terms));
    }
  }
}

// to[kQ, kQ] = a b^T up to the diagonal; what lies above is unspecified. As ForEachLowerDot.
template <int64_t kQ>
inline void LowerProduct(int64_t k, const float* a, const float* b, float* to) {
  ForEachLowerDot<kQ>(
      k, a, k, b, k, [to](int64_t i, int64_t j, Float g) __attribute__((always_inline)) {
        StoreFours(to + i * kQ + j, kQ, g);
      });
}

// Whether an output of `floats` goes past the caches, where none would hold it until it is read: writing a
// line there reads it first.
inline bool Streams(int64_t floats, const SsdArray<float>& to) {
  constexpr int64_t kFloats = 2 << 20;
  return floats >= kFloats &&
         (reinterpret_cast<uintptr_t>(to.data) / sizeof(float) | to.batch | to.token | to.head) % kBlock == 0;
}

}  // namespace retort::RETORT_ISA
