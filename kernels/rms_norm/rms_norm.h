// RMS norm, and Mamba-2's gated one, gate first (mamba_ssm with norm_before_gate = False; transformers'
// MambaRMSNormGated):
//     u = x, or x SiLU(z),   r = 1 / sqrt(mean(u^2) + eps) over each group of channels,   y = weight u r
// Backward, with v = dy weight and n channels in a group:
//     du = r (v - u r^2 sum(v u) / n),   dx = du, or du SiLU(z),   dz = du x SiLU'(z),   dweight = sum_rows
//     dy u r
// Legend: R rows (tokens of all sequences), M = groups * width channels. float32; the caller owns every
// array. Outputs are contiguous and must not overlap inputs; channels lie side by side everywhere. A row's
// results depend on that row alone. Bits do not depend on the executor. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/base/executor.h"
#include "kernels/base/instruction_set.h"

namespace retort {

struct RmsNormShape {
  int64_t rows, groups, width;  // width: channels of a group
  float eps;                    // > 0, or a row of zeros divides by zero
};

// [R, M]; `stride` elements from row to row: a slice of a projection's output needs no copy.
struct RmsNormRows {
  const float* data;
  int64_t stride;
};

struct RmsNormForwardArgs {
  RmsNormShape shape;
  RmsNormRows x, z;  // z.data null: no gate
  const float* weight_M;
  float* y_RM;
  float* rstd_RG;  // r, which the backward pass takes
};
void RmsNormForward(const RmsNormForwardArgs& args, const Executor& executor, InstructionSet set);

struct RmsNormBackwardArgs {
  RmsNormShape shape;
  RmsNormRows x, z, dy;
  const float* weight_M;
  const float* rstd_RG;
  float *dx_RM, *dz_RM;  // dz null without a gate
  float* dweight_M;      // null: not wanted
};
void RmsNormBackward(const RmsNormBackwardArgs& args, const Executor& executor, InstructionSet set);

}  // namespace retort
