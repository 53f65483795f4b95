// What stands between the projections of a gated MLP, element by element:
//     y = SiLU(gate) up,   SiLU(g) = g s with s = 1 / (1 + exp(-g))
// Backward:
//     dgate = dy up s (1 + g (1 - s)),   dup = dy g s
// Arrays hold `count` contiguous floats, which the caller owns. Outputs must not overlap inputs. Each element
// depends on those at its place alone; bits do not depend on the executor. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/base/executor.h"
#include "kernels/base/instruction_set.h"

namespace retort {

struct SwigluForwardArgs {
  int64_t count;
  const float *gate, *up;
  float* y;
};
void SwigluForward(const SwigluForwardArgs& args, const Executor& executor, InstructionSet set);

struct SwigluBackwardArgs {
  int64_t count;
  const float *gate, *up, *dy;
  float *dgate, *dup;
};
void SwigluBackward(const SwigluBackwardArgs& args, const Executor& executor, InstructionSet set);

}  // namespace retort
