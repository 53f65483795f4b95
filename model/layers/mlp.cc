#include "model/layers/mlp.h"

#include <ATen/ATen.h>

#include "model/ops/compute_path.h"
#include "model/ops/swiglu.h"

namespace retort {

at::Tensor Mlp(const at::Tensor& x, const MlpWeights& weights) {
  const at::Tensor gate = at::linear(x, weights.gate_proj), up = at::linear(x, weights.up_proj);
  return at::linear(KernelsTake(x) ? Swiglu(gate, up) : at::silu(gate) * up, weights.down_proj);
}

}  // namespace retort
