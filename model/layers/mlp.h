// The Llama family's gated MLP.
#pragma once

#include <ATen/core/Tensor.h>

namespace retort {

struct MlpWeights {
  at::Tensor gate_proj, up_proj;  // [F, E]
  at::Tensor down_proj;           // [E, F]
};

// down(SiLU(gate(x)) * up(x)). x and the result: [..., E].
at::Tensor Mlp(const at::Tensor& x, const MlpWeights& weights);

}  // namespace retort
