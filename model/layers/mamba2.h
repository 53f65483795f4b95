// The Mamba-2 mixer in two forms. Stock (mamba_ssm `Mamba2`; Hugging Face Bamba and GraniteMoeHybrid):
//     z, x, B, C, dt = projections of u;   x, B, C = SiLU(causal depthwise convolution)
//     dt = softplus(dt + dt_bias);  l = -exp(A_log) dt;  y = SSD(dt x, l, B, C) + D x
//     out = out_proj(GatedRmsNorm(y, z))
// Discrete (Phi-Mamba, arXiv 2408.10189; goombalab/phi-mamba `DiscreteMamba2`), which has no step sizes:
//     z, x, B, C, a = projections of u;   x, B, C = causal depthwise convolution
//     l = -softplus(a);  y = SSD(x, l, B, C) + D x;   out = out_proj(y SiLU(z + z_bias))
// The parts of the input projection and of the convolution are tensors of their own, because the stages train
// different ones: stage 1 reaches only B, C and dt or a, and an optimiser must not decay what its loss cannot
// see. B batch, T tokens, E hidden width, M = H*P inner width, H heads, G groups, N state size, K taps.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "model/io/model_config.h"

namespace retort {

// Tensors that a form does not have are undefined.
struct Mamba2Weights {
  at::Tensor z_proj, x_proj;          // [M, E]
  at::Tensor b_proj, c_proj;          // [G*N, E]
  at::Tensor dt_proj;                 // [H, E], stock
  at::Tensor a_proj;                  // [H, E], discrete
  at::Tensor conv_x, conv_b, conv_c;  // [channels, K]; tap K-1 multiplies the current token
  at::Tensor conv_x_bias, conv_b_bias, conv_c_bias;
  at::Tensor dt_bias, a_log;  // [H], stock
  at::Tensor d;               // [H]
  at::Tensor norm;            // [M], stock
  at::Tensor z_bias;          // [M], discrete
  at::Tensor out_proj;        // [E, M]
};

// One tensor of a mixer with what the rest of the system must know of it.
struct Mamba2Tensor {
  const char* name;  // below the layer's prefix in files, for example "b_proj.weight"
  at::Tensor Mamba2Weights::*member;
  bool is_matrix;  // projections: weight decay applies to these alone
  bool in_matrix;  // enters the mixing matrix, so stage 1 trains it
};
// Every tensor of a form, in the order in which files and optimisers list them.
const std::vector<Mamba2Tensor>& Mamba2Tensors(Mamba2Form form);

// Moves the stock form's projections of u, bit by bit, to memory where they lie below each other, so that a
// sequence makes one matrix product of them. Afterwards each is a tensor of its own as before.
void JoinProjections(Mamba2Weights& weights);

// The shape of one of the tensors for a mixer in a model of width `hidden_size`.
std::vector<int64_t> Mamba2TensorShape(const Mamba2Tensor& tensor, const Mamba2Shape& shape,
                                       int64_t hidden_size);

// Convolution inputs of the last K-1 tokens, and the scan's state.
struct Mamba2State {
  at::Tensor conv_x, conv_b, conv_c;  // [B, K-1, channels]
  at::Tensor ssm_BHPN;
};

// u: the normed input; `eps` is for the stock form's norm. Output before the residual, [B, T, E]. When
// `state` is not null it receives the state after the last token; the sequence itself starts from nothing.
at::Tensor Mamba2(const at::Tensor& u_BTE, const Mamba2Weights& weights, const Mamba2Shape& shape, double eps,
                  Mamba2State* state);

// The same for one token, u: [B, 1, E], from and into `state`.
at::Tensor Mamba2Step(const at::Tensor& u_B1E, const Mamba2Weights& weights, const Mamba2Shape& shape,
                      double eps, Mamba2State& state);

// What the mixing matrix is made of; autograd passes through to the weights.
struct Mamba2MatrixParts {
  at::Tensor log_decay_BTH;
  at::Tensor dt_BTH;  // undefined in the discrete form, where it is 1
  at::Tensor b_BTGN, c_BTGN;
  at::Tensor d_H;
};
Mamba2MatrixParts MatrixParts(const at::Tensor& u_BTE, const Mamba2Weights& weights,
                              const Mamba2Shape& shape);

// Stage 1's student matrix (mohawk: "materialize_mixer"), [B, H, T, T]:
//     T_ij = (C_i . B_j) exp(l_{j+1} + ... + l_i) dt_j + D [i = j],   T x = y for the convolved x.
at::Tensor Mamba2Matrix(const Mamba2MatrixParts& parts);
at::Tensor Mamba2Matrix(const at::Tensor& u_BTE, const Mamba2Weights& weights, const Mamba2Shape& shape);

}  // namespace retort
