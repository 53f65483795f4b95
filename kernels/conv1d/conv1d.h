// Causal depthwise convolution along the tokens of channel-last sequences, as in front of Mamba's scan
// (causal_conv1d; transformers' Mamba2Mixer):
//     u_t = bias + sum_{w < K} weight[w] x_{t-(K-1)+w},    y_t = SiLU(u_t) or u_t
// The rows before the sequence, x_{-(K-1)} ... x_{-1}, are `initial`, or zero. Backward, with
// g_t = dy_t SiLU'(u_t) and u recomputed from x:
//     dx_t = sum_w weight[w] g_{t+(K-1)-w}     dweight[w] = sum_t g_t x_{t-(K-1)+w}     dbias = sum_t g_t
// Legend: B batch, T tokens, C channels, K taps. float32; the caller owns every array. Outputs must not
// overlap inputs; what is contiguous has no stride beside it. Channels lie side by side
// everywhere. Bits do not depend on the executor. A NaN in token t reaches no output before t. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/base/executor.h"
#include "kernels/base/instruction_set.h"

namespace retort {

constexpr int64_t kConv1dMinTaps = 2, kConv1dMaxTaps = 8;

struct Conv1dShape {
  int64_t batch, tokens, channels;
  int64_t taps;  // kConv1dMinTaps to kConv1dMaxTaps
  bool silu;
};

// [B, T, C] with strides in elements: a slice of a projection's output needs no copy.
struct Conv1dRows {
  const float* data;
  int64_t batch_stride, token_stride;
};

struct Conv1dForwardArgs {
  Conv1dShape shape;
  Conv1dRows x;
  const float* weight_CK;    // tap K-1 multiplies the current token
  const float* bias_C;       // or null
  const float* initial_BKC;  // [B, K-1, C], or null for zeros
  float* y_BTC;
  float* final_state_BKC;  // [B, K-1, C], the `initial` of what follows; or null
};
void Conv1dForward(const Conv1dForwardArgs& args, const Executor& executor, InstructionSet set);

// The same, written: a slice of the gradient of a projection's output.
struct Conv1dGradientRows {
  float* data;
  int64_t batch_stride, token_stride;
};

struct Conv1dBackwardArgs {
  Conv1dShape shape;
  Conv1dRows x;
  const float* weight_CK;
  const float* bias_C;       // or null
  const float* initial_BKC;  // or null
  Conv1dRows dy;
  const float* dfinal_BKC;  // gradient of final_state, or null for zeros
  Conv1dGradientRows dx;
  float* dweight_CK;
  float* dbias_C;       // or null
  float* dinitial_BKC;  // or null
};
void Conv1dBackward(const Conv1dBackwardArgs& args, const Executor& executor, InstructionSet set);

}  // namespace retort
