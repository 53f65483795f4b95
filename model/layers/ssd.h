// State-space duality (Mamba-2, arXiv 2405.21060, section 6): the recurrence
//     S_t = exp(l_t) S_{t-1} + x_t b_t^T,    y_t = S_t c_t        (S: [P, N], l_t <= 0)
// in its chunked, recurrent and matrix forms. float32 or float64; autograd passes through.
// B batch, T tokens, H heads, P head width, G groups (H / G heads share b and c), N state size.
// This is the plain reference that the fast kernels are compared with.
#pragma once

#include <ATen/core/Tensor.h>

namespace retort {

struct SsdInputs {
  at::Tensor x_BTHP;
  at::Tensor log_decay_BTH;
  at::Tensor b_BTGN, c_BTGN;
};

struct SsdResult {
  at::Tensor y_BTHP;
  at::Tensor state_BHPN;  // after the last token
};

// Chunks of `chunk` tokens; any T. `initial_state_BHPN` undefined means zero. Every exponent is a difference
// of cumulated log-decays within one chunk, so it is <= 0 and nothing overflows.
SsdResult SsdChunked(const SsdInputs& inputs, int64_t chunk, const at::Tensor& initial_state_BHPN);

// One token: x [B,H,P], log_decay [B,H], b and c [B,G,N]. Returns y [B,H,P] and replaces the state.
at::Tensor SsdStep(const at::Tensor& x_BHP, const at::Tensor& log_decay_BH, const at::Tensor& b_BGN,
                   const at::Tensor& c_BGN, at::Tensor& state_BHPN);

// M_ij = (c_i . b_j) exp(l_{j+1} + ... + l_i) for j <= i, else 0: y = M x per head. [B, H, T, T].
at::Tensor SsdMatrix(const at::Tensor& log_decay_BTH, const at::Tensor& b_BTGN, const at::Tensor& c_BTGN);

}  // namespace retort
