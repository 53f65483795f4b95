// How far rows lie from others, and in which direction, in one pass:
//     distance_r = |s_r - t_r|,   direction_r = (s_r - t_r) / distance_r, or 0 where the distance is 0
// which is the gradient of distance_r by s_r. R rows of E elements; the caller owns all arrays; outputs are
// contiguous and must not overlap inputs. Bits do not depend on the executor. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/base/executor.h"
#include "kernels/base/instruction_set.h"

namespace retort {

struct RowDistanceArgs {
  int64_t rows, width;
  const float* s_RE;
  int64_t s_row;  // from row to row
  const float* t_RE;
  int64_t t_row;
  float *distance_R, *direction_RE;
};
void RowDistance(const RowDistanceArgs& args, const Executor& executor, InstructionSet set);

}  // namespace retort
