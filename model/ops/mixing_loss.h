// Stage 1's loss on LibTorch tensors, by kernels/mixing_loss: operator retort::mixing_loss for CPUs.
//     S_bh = sum over i >= j of (M_ij - P_ij)^2,   loss = mean over (b, h) of sqrt(S_bh)
// P_ij = exp(q_i . k_j / sqrt(Q) - lse_i), M_ij = (c_i . b_j) exp(l_{j+1} + ... + l_i) dt_j + D_h [i = j]. No
// T x T array is built. Where heads share groups, nothing but the inputs is kept for backward
// (retort::mixing_loss_backward); where each head is a group, forward makes the gradients of each S_bh in the
// same walk (retort::mixing_loss_gradients) and keeps them for backward to scale (retort::mixing_loss_scale).
// B batch, T tokens, H query heads, K key heads and G groups (both divide H), Q head width, N state size.
#pragma once

#include <ATen/core/Tensor.h>

namespace retort {

// float32 on the CPU, any strides but for the last dimension of q, k, c, b, which is contiguous. Undefined
// log_decay, dt and d mean 0, 1 and 0.
struct MixingLossInputs {
  at::Tensor q_BTHQ, k_BTKQ;  // the teacher's, after rotary; Q from 1 to 256
  at::Tensor lse_BTH;         // log-sum-exp of each row's scaled scores
  at::Tensor c_BTGN, b_BTGN;  // N a multiple of 16 up to 256
  at::Tensor log_decay_BTH;   // <= 0
  at::Tensor dt_BTH;
  at::Tensor d_H;
};

// Whether Q and N are sizes that the kernel takes.
bool MixingLossTakes(int64_t state_size, int64_t head_dim);

// The loss, a scalar. Gradients flow to c, b, log_decay, dt and d, once (not twice); the teacher is constant.
// A head without any error has gradient 0. Throws c10::Error naming the argument that does not fit.
at::Tensor MeanMixingDistance(const MixingLossInputs& inputs);

// The operator: S [B, H].
at::Tensor SquaredMixingDistance(const MixingLossInputs& inputs);

}  // namespace retort
