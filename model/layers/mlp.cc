#include "model/layers/mlp.h"

#include <ATen/ATen.h>

namespace retort {

at::Tensor Mlp(const at::Tensor& x, const MlpWeights& weights) {
  const at::Tensor gate = at::silu(at::linear(x, weights.gate_proj));
  return at::linear(gate * at::linear(x, weights.up_proj), weights.down_proj);
}

}  // namespace retort
