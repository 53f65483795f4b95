// The two MLPs of the teachers: gated (the Llama family) and plain (Phi).
#pragma once

#include <ATen/core/Tensor.h>

namespace retort {

struct MlpWeights {
  at::Tensor gate_proj;           // [F, E]; undefined in the plain one
  at::Tensor up_proj;             // [F, E]
  at::Tensor down_proj;           // [E, F]
  at::Tensor up_bias, down_bias;  // undefined in the gated one
};

// down(SiLU(gate(x)) * up(x)), or without a gate down(GELU(up(x))) with biases, GELU by its tanh formula
// (transformers' gelu_new). x and the result: [..., E].
at::Tensor Mlp(const at::Tensor& x, const MlpWeights& weights);

}  // namespace retort
