// What stands in front of Mamba-2's scan, its stock form, in one operator: five projections as one matrix
// product forward and, of the weights' gradients and of the input's, one each backward; the causal
// convolutions; the step sizes. For normed inputs u and the parts p of u [z_proj; x_proj; b_proj; c_proj;
// dt_proj]^T:
//     z = p_z,   x, b, c = SiLU(conv(p_x)), SiLU(conv(p_b)), SiLU(conv(p_c))
//     dt = softplus(p_dt + dt_bias),   l = -exp(a_log) dt
// Projections that lie below each other in memory, in this order, cost no copy.
// B batch, T tokens, E width of u, M inner width, N state rows (groups times state size), H heads, K taps.
#pragma once

#include <ATen/core/Tensor.h>

namespace retort {

struct Mamba2InputWeights {
  at::Tensor z_proj, x_proj;          // [M, E]
  at::Tensor b_proj, c_proj;          // [N, E]
  at::Tensor dt_proj;                 // [H, E]
  at::Tensor conv_x, conv_b, conv_c;  // [M, K], [N, K]; tap K-1 multiplies the current token
  at::Tensor conv_x_bias, conv_b_bias, conv_c_bias;
  at::Tensor dt_bias, a_log;  // [H]
};

struct Mamba2Inputs {
  at::Tensor z_BTM;  // a slice of wider rows
  at::Tensor x_BTM, b_BTN, c_BTN, dt_BTH, log_decay_BTH;
};

// float32 on the CPU; throws c10::Error with what is wrong of an argument otherwise. Differentiable once.
Mamba2Inputs FusedMamba2Inputs(const at::Tensor& u_BTE, const Mamba2InputWeights& weights);

}  // namespace retort
