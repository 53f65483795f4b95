// The step sizes of Mamba-2's scan and what they make of its decays:
//     dt = softplus(raw + bias),   l = -exp(a_log) dt        per row and head, softplus(v) = log(1 + exp(v))
// Backward, with s = 1 / (1 + exp(-(raw + bias))):
//     draw = (ddt - exp(a_log) dl) s,   dbias = sum over rows of draw,   da_log = sum over rows of dl l
// R rows of H heads side by side. Arrays without a stride are contiguous; the caller owns them; outputs must
// not overlap inputs. Bits do not depend on the executor. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/base/executor.h"
#include "kernels/base/instruction_set.h"

namespace retort {

struct StepSizesForwardArgs {
  int64_t rows, heads;
  const float* raw_RH;
  int64_t raw_row;  // from row to row
  const float *bias_H, *a_log_H;
  float *dt_RH, *log_decay_RH;
};
void StepSizesForward(const StepSizesForwardArgs& args, const Executor& executor, InstructionSet set);

struct StepSizesBackwardArgs {
  int64_t rows, heads;
  const float* raw_RH;
  int64_t raw_row;
  const float *bias_H, *a_log_H;
  const float *log_decay_RH, *ddt_RH, *dlog_decay_RH;
  float* draw_RH;
  int64_t draw_row;
  float *dbias_H, *da_log_H;
};
void StepSizesBackward(const StepSizesBackwardArgs& args, const Executor& executor, InstructionSet set);

}  // namespace retort
