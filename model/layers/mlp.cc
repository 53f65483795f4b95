#include "model/layers/mlp.h"

#include <ATen/ATen.h>

#include "model/ops/compute_path.h"
#include "model/ops/swiglu.h"

namespace retort {

at::Tensor Mlp(const at::Tensor& x, const MlpWeights& weights) {
  if (!weights.gate_proj.defined()) {
    const at::Tensor up = at::linear(x, weights.up_proj, weights.up_bias);
    return at::linear(at::gelu(up, "tanh"), weights.down_proj, weights.down_bias);
  }
  const at::Tensor gate = at::linear(x, weights.gate_proj), up = at::linear(x, weights.up_proj);
  return at::linear(KernelsTake(x) ? Swiglu(gate, up) : at::silu(gate) * up, weights.down_proj);
}

}  // namespace retort
