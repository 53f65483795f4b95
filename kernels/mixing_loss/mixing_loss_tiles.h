// The items of mixing_loss_cpu.cc, compiled once per instruction set. Each function is one item's work;
// concurrent calls must not write the same tile row's grad_c or the same tile column's grad_b.
// B, T, H, K, G, Q, N as in mixing_loss.h; n tiles, t the 64 tokens of a tile (absent ones are zero).
#pragma once

#include <cstdint>

#include "kernels/base/instruction_set.h"
#include "kernels/mixing_loss/mixing_loss.h"

namespace retort {

constexpr int64_t kMixingLossTile = 64;
constexpr int64_t kMixingLossHeadsAtOnce = 4;  // at most; they share the products c_i . b_j

// One call's memory.
struct MixingLossWork {
  MixingLossArgs<float> args;
  int64_t tiles = 0;

  // Inputs in the order in which tiles read them.
  float* keys_BKnQt = nullptr;
  float* b_columns_BGnNt = nullptr;
  float* b_rows_BGntN = nullptr;  // what is not finite is 0 here; it has its effect through b_columns
  float* dt_BHnt = nullptr;

  // Decays within a tile, and of a whole one: exp(l_first + ... + l_i), exp(l_{j+1} + ... + l_last).
  float* row_decay_BHnt = nullptr;
  float* column_decay_BHnt = nullptr;
  float* tile_log_decay_BHn = nullptr;

  // Sums over off-diagonal tiles: of W along rows; of dS/dt along columns; of W in the whole tile.
  float* row_sum_BHnt = nullptr;
  float* column_sum_BHnt = nullptr;
  float* tile_sum_BHnn = nullptr;

  // Sums of a row of tiles.
  double* loss_BHn = nullptr;
  double* grad_d_BHn = nullptr;
};

// Tiles [row_begin, row_end) x [column_begin, column_end) on or below the diagonal, for some heads of one
// group. A range on the diagonal must come before all others of its rows or columns: it sets their gradients,
// to which others add.
struct MixingLossRange {
  int64_t batch, head_begin, head_end;
  int64_t row_begin, row_end, column_begin, column_end;
};

RETORT_SIMD_DECLARE(void MixingLossPackKeys(const MixingLossWork& work, int64_t batch, int64_t key_head))
RETORT_SIMD_DECLARE(void MixingLossPackStudent(const MixingLossWork& work, int64_t batch, int64_t group))
RETORT_SIMD_DECLARE(void MixingLossPrepareHead(const MixingLossWork& work, int64_t batch, int64_t head))
RETORT_SIMD_DECLARE(void MixingLossWalk(const MixingLossWork& work, const MixingLossRange& range))
// After all ranges: what is summed over tiles.
RETORT_SIMD_DECLARE(void MixingLossFinishHead(const MixingLossWork& work, int64_t batch, int64_t head))

}  // namespace retort
