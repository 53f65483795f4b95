// Products of small matrices in registers, for SIMD sources. A Tile is a block of kRows rows by kVectors
// vectors of columns, kept in registers while products accumulate into it:
//     Tile<R, V> tile; tile.SetZero(); tile.AddProduct(k, a, b); tile.ScaleRows(f); tile.Store(c, row)
// Fitting Tiles to a whole matrix is ForEachTile's work. Matrices are row-major with 4-byte elements;
// `Operand` lets the left one be read as its transpose, so NN and TN products need no copy; for NT transpose
// the right one first (Transpose).
#pragma once

#include "kernels/base/simd.h"

namespace retort::RETORT_ISA {

// Element (i, k) of a left operand: data[i * row + k * column]. Its transpose: swap the strides.
struct Operand {
  const float* data;
  int64_t row, column;
};

template <int kRows_, int kVectors_>
struct Tile {
  static constexpr int kRows = kRows_, kVectors = kVectors_, kColumns = kVectors_ * kLanes;
  Float sum[kRows][kVectors];

  __attribute__((always_inline)) void SetZero() {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) sum[i][j] = Broadcast(0.0f);
    }
  }

  __attribute__((always_inline)) void Load(const float* c, int64_t row) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) sum[i][j] = RETORT_ISA::Load(c + i * row + j * kLanes);
    }
  }

  // tile += a[0 .. kRows, 0 .. k] b[0 .. k, 0 .. kColumns], summed over k in rising order.
  __attribute__((always_inline)) void AddProduct(int64_t k, Operand a, const float* b, int64_t b_row) {
    const float* a_k = a.data;
    for (int64_t step = 0; step < k; ++step) {
      Float right[kVectors];
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) right[j] = RETORT_ISA::Load(b + j * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const Float left = Broadcast(a_k[i * a.row]);
#pragma GCC unroll 16
        for (int j = 0; j < kVectors; ++j) sum[i][j] = MulAdd(left, right[j], sum[i][j]);
      }
      a_k += a.column;
      b += b_row;
    }
  }

  // tile += tril(a) b for a square `a` of kRows: row i takes steps 0 ... i. What a masked product cannot do:
  // the operands of the others are not touched, so a NaN there stays there.
  __attribute__((always_inline)) void AddLowerProduct(Operand a, const float* b, int64_t b_row) {
#pragma GCC unroll 16
    for (int step = 0; step < kRows; ++step) AddStep(step, kRows, step, a, b, b_row);
  }

  // tile += triu(a) b for a square `a` of kRows: row i takes steps i ... kRows - 1.
  __attribute__((always_inline)) void AddUpperProduct(Operand a, const float* b, int64_t b_row) {
#pragma GCC unroll 16
    for (int step = 0; step < kRows; ++step) AddStep(0, step + 1, step, a, b, b_row);
  }

  // Row i += factor * c[i].
  __attribute__((always_inline)) void AddScaled(float factor, const float* c, int64_t row) {
    const Float f = Broadcast(factor);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) {
        sum[i][j] = MulAdd(f, RETORT_ISA::Load(c + i * row + j * kLanes), sum[i][j]);
      }
    }
  }

  // sums[i] += <row i, row i of c>.
  __attribute__((always_inline)) void AddRowDots(const float* c, int64_t row, float* sums) const {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      Float dot = Broadcast(0.0f);
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) {
        dot = MulAdd(sum[i][j], RETORT_ISA::Load(c + i * row + j * kLanes), dot);
      }
      sums[i] += Sum(dot);
    }
  }

  __attribute__((always_inline)) void Scale(float factor) {
    const Float f = Broadcast(factor);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) sum[i][j] = sum[i][j] * f;
    }
  }

  // Row i times factor[i].
  __attribute__((always_inline)) void ScaleRows(const float* factor) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const Float f = Broadcast(factor[i]);
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) sum[i][j] = sum[i][j] * f;
    }
  }

  // Column j times factor[j].
  __attribute__((always_inline)) void ScaleColumns(const float* factor) {
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) {
      const Float f = RETORT_ISA::Load(factor + j * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) sum[i][j] = sum[i][j] * f;
    }
  }

  // sums[j] += <column j, column j of c>.
  __attribute__((always_inline)) void AddColumnDots(const float* c, int64_t row, float* sums) const {
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) {
      Float dot = RETORT_ISA::Load(sums + j * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        dot = MulAdd(sum[i][j], RETORT_ISA::Load(c + i * row + j * kLanes), dot);
      }
      RETORT_ISA::Store(sums + j * kLanes, dot);
    }
  }

  __attribute__((always_inline)) void Store(float* c, int64_t row) const {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) RETORT_ISA::Store(c + i * row + j * kLanes, sum[i][j]);
    }
  }

  // Store past the caches; rows begin at multiples of a vector's size.
  __attribute__((always_inline)) void Stream(float* c, int64_t row) const {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) RETORT_ISA::Stream(c + i * row + j * kLanes, sum[i][j]);
    }
  }

 private:
  __attribute__((always_inline)) void AddStep(int first, int end, int step, Operand a, const float* b,
                                              int64_t b_row) {
    Float right[kVectors];
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) right[j] = RETORT_ISA::Load(b + step * b_row + j * kLanes);
#pragma GCC unroll 16
    for (int i = first; i < end; ++i) {
      const Float left = Broadcast(a.data[i * a.row + step * a.column]);
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) sum[i][j] = MulAdd(left, right[j], sum[i][j]);
    }
  }
};

// Matrices handed to ForEachTile have a multiple of this many columns.
constexpr int64_t kColumnGranule = 16;

// The most vectors of columns in a tile: with 6 rows, 2 of them and the operands fill 16 registers.
constexpr int kTileVectors = kLanes == 16 ? 4 : 2;

template <int kVectors, class Body>
__attribute__((always_inline)) inline void ForEachRowTile(int64_t rows, int64_t column, const Body& body) {
  // 16 sums are enough to hide the latency of a multiply-add, and 32 or 64 rows leave no remainder; 6 x 2 are
  // what 16 registers hold.
  constexpr int kRows = kVectors == 4 ? 4 : kLanes == 16 ? 8 : 6;
  int64_t row = 0;
  for (; row + kRows <= rows; row += kRows) body(Tile<kRows, kVectors>(), row, column);
  if (row + 4 <= rows) {
    body(Tile<4, kVectors>(), row, column);
    row += 4;
  }
  if (row + 2 <= rows) {
    body(Tile<2, kVectors>(), row, column);
    row += 2;
  }
  if (row < rows) body(Tile<1, kVectors>(), row, column);
}

// Calls body(tile, row, column) for tiles that cover rows x columns, each of its own Tile<R, V> type and
// uninitialised. `columns` is a multiple of kColumnGranule.
template <class Body>
__attribute__((always_inline)) inline void ForEachTile(int64_t rows, int64_t columns, const Body& body) {
  constexpr int64_t kWide = kTileVectors * kLanes;
  int64_t column = 0;
  for (; column + kWide <= columns; column += kWide) ForEachRowTile<kTileVectors>(rows, column, body);
  if constexpr (kWide > 2 * kColumnGranule) {
    if (column + 2 * kColumnGranule <= columns) {
      ForEachRowTile<2 * kColumnGranule / kLanes>(rows, column, body);
      column += 2 * kColumnGranule;
    }
  }
  if constexpr (kWide > kColumnGranule) {
    if (column < columns) ForEachRowTile<kColumnGranule / kLanes>(rows, column, body);
  }
}

// c = a b, or c += a b: [m, k] [k, n]; n a multiple of kColumnGranule.
template <bool kAccumulate>
inline void Multiply(int64_t m, int64_t n, int64_t k, Operand a, const float* b, int64_t b_row, float* c,
                     int64_t c_row) {
  ForEachTile(
      m, n, [&](auto tile, int64_t row, int64_t column) __attribute__((always_inline)) {
        float* const target = c + row * c_row + column;
        if constexpr (kAccumulate) {
          tile.Load(target, c_row);
        } else {
          tile.SetZero();
        }
        tile.AddProduct(k, {a.data + row * a.row, a.row, a.column}, b + column, b_row);
        tile.Store(target, c_row);
      });
}

// to[j, i] = from[i, j] for i < rows, j < columns, both multiples of 16.
inline void Transpose(int64_t rows, int64_t columns, const float* from, int64_t from_row, float* to,
                      int64_t to_row) {
  for (int64_t i = 0; i < rows; i += kTransposeBlock) {
    for (int64_t j = 0; j < columns; j += kTransposeBlock) {
      TransposeBlock(from + i * from_row + j, from_row, to + j * to_row + i, to_row);
    }
  }
}

}  // namespace retort::RETORT_ISA
