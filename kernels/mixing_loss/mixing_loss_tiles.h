// The items of mixing_loss_cpu.cc, compiled once per instruction set. Each function is one item's work; items
// of one phase may run at the same time.
// B, T, H, K, G, Q, N as in mixing_loss.h; n tiles, t the 64 tokens of a tile (absent ones are zero), R the
// shares into which backward cuts the rows of tiles.
#pragma once

#include <cstdint>

#include "kernels/base/instruction_set.h"
#include "kernels/mixing_loss/mixing_loss.h"

namespace retort {

constexpr int64_t kMixingLossTile = 64;

// One call's memory.
struct MixingLossWork {
  MixingLossInput<float> input;
  int64_t tiles = 0;

  // Inputs in the order in which tiles read them.
  float* keys_BKnQt = nullptr;
  float* b_columns_BGnNt = nullptr;
  float* b_rows_BGntN = nullptr;  // what is not finite is 0 here; it has its effect through b_columns
  float* dt_BHnt = nullptr;

  // Decays within a tile, exp(l_first + ... + l_i) and exp(l_{j+1} + ... + l_last), and the sum of all l.
  float* row_decay_BHnt = nullptr;
  float* column_decay_BHnt = nullptr;
  float* tile_log_decay_BHn = nullptr;

  double* loss_BHn = nullptr;  // of a row of tiles; null: not wanted beside the gradients

  // For the gradients only. A share writes its own part of grad_b; MixingLossFinish... sums the parts.
  int64_t shares = 0;
  const float* weight_BH = nullptr;
  MixingLossGradients<float> gradients;
  float* grad_b_BGRntN = nullptr;
  double* grad_d_BHn = nullptr;       // of a diagonal tile
  float* diagonal_BHnt = nullptr;     // dl of pairs within the tile
  float* grad_dt_BHnt = nullptr;      // of pairs within the tile
  float* row_sum_BHnt = nullptr;      // sums over the tiles below the diagonal: of W along rows,
  float* column_sum_BHRnt = nullptr;  // of ddt along columns,
  float* tile_sum_BHnn = nullptr;     // of W in a tile
};

// Before everything else.
RETORT_SIMD_DECLARE(void MixingLossPackKeys(const MixingLossWork& work, int64_t batch, int64_t key_head))
RETORT_SIMD_DECLARE(void MixingLossPackStudent(const MixingLossWork& work, int64_t batch, int64_t group))
RETORT_SIMD_DECLARE(void MixingLossPrepareHead(const MixingLossWork& work, int64_t batch, int64_t head))
// Forward: row I of tiles.
RETORT_SIMD_DECLARE(void MixingLossSumRow(const MixingLossWork& work, int64_t batch, int64_t group,
                                          int64_t I))
// Gradients, and the loss if it is wanted: the rows of one share; then what is summed over tiles.
RETORT_SIMD_DECLARE(void MixingLossGradientShare(const MixingLossWork& work, int64_t batch, int64_t group,
                                                 int64_t share))
RETORT_SIMD_DECLARE(void MixingLossFinishHead(const MixingLossWork& work, int64_t batch, int64_t head))
RETORT_SIMD_DECLARE(void MixingLossFinishGroup(const MixingLossWork& work, int64_t batch, int64_t group))

}  // namespace retort
