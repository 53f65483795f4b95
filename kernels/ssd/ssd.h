// State-space duality, the scan of Mamba-2 (arXiv 2405.21060, section 6). Per batch entry and head
//     S_t = exp(l_t) S_{t-1} + dt_t x_t b_t^T,   y_t = S_t c_t + D x_t     (S: [P, N], l_t <= 0, S_{-1}
//     given)
// forward, backward and one step at a time.
//   B batch, T tokens, H heads, P head width, G groups, N state size; head h reads b and c of group h / (H /
//   G).
// Any sizes, T = 0 too; H is a multiple of G. P and N are fastest as multiples of 16, others are padded
// inside. Log-decays from 0 to -inf. Inputs and outputs must not overlap. All functions are thread-safe.
// Results do not depend on the executor's threads, bit by bit.
#pragma once

#include <cstdint>

#include "kernels/base/executor.h"
#include "kernels/base/instruction_set.h"

namespace retort {

struct SsdShape {
  int64_t batch, tokens, heads, groups, width, state;
};

// Element (b, t, h, p) of [B,T,H,P] is data[b * batch + t * token + h * head + p]; strides count elements.
// The same for [B,T,G,N], by groups, and for [B,T,H] with nothing after h. Borrowed.
template <class Real>
struct SsdArray {
  Real* data;
  int64_t batch, token, head;
};

// The forward pass keeps the states that enter chunks of this many tokens for the backward pass, transposed:
// [B,H,C,N,P]. Products of [chunk, chunk] grow with it, passes over the state shrink; 32 is the best of 16,
// 32 and 64 (docs/kernels.md).
constexpr int64_t kSsdChunk = 32;
constexpr int64_t SsdChunks(const SsdShape& shape) { return (shape.tokens + kSsdChunk - 1) / kSsdChunk; }

// States [B,H,P,N] are contiguous.
template <class Real>
struct SsdForwardArguments {
  SsdShape shape;
  SsdArray<const Real> x_BTHP, log_decay_BTH, b_BTGN, c_BTGN;
  const Real* d_H;                   // null: no D
  const Real* initial_state_BHPN;    // null: zero
  SsdArray<Real> y_BTHP;             // out
  Real* final_state_BHPN;            // out: the state after the last token
  Real* chunk_states_BHCNP;          // out; null: not wanted
  SsdArray<const Real> dt_BTH = {};  // null: 1
};

// Gradients of a scalar, given those of y and of the final state and the states that the forward pass kept.
template <class Real>
struct SsdBackwardArguments {
  SsdShape shape;
  SsdArray<const Real> x_BTHP, log_decay_BTH, b_BTGN, c_BTGN;
  const Real* d_H;  // null: no D
  const Real* chunk_states_BHCNP;
  SsdArray<const Real> dy_BTHP;
  const Real* dfinal_state_BHPN;                             // null: zero
  SsdArray<Real> dx_BTHP, dlog_decay_BTH, db_BTGN, dc_BTGN;  // out
  Real* dd_H;                                                // out; null where d_H is
  Real* dinitial_state_BHPN;                                 // out; may be null
  SsdArray<const Real> dt_BTH = {};                          // null: 1
  SsdArray<Real> ddt_BTH = {};                               // out; null where dt is
};

// One token, of dt = 1; shape.tokens and the token strides are not read. The state is replaced in place.
struct SsdStepArguments {
  SsdShape shape;
  SsdArray<const float> x_BHP, log_decay_BH, b_BGN, c_BGN;
  const float* d_H;  // null: no D
  SsdArray<float> y_BHP;
  float* state_BHPN;
};

// Returns false, the outputs being worthless, if a log-decay is above 0.
bool SsdForward(const SsdForwardArguments<float>& arguments, const Executor& executor,
                InstructionSet set = ActiveInstructionSet());
void SsdBackward(const SsdBackwardArguments<float>& arguments, const Executor& executor,
                 InstructionSet set = ActiveInstructionSet());
void SsdStep(const SsdStepArguments& arguments, const Executor& executor,
             InstructionSet set = ActiveInstructionSet());

}  // namespace retort
