#include "model/layers/norm.h"

#include <ATen/ATen.h>

#include "model/ops/compute_path.h"
#include "model/ops/gated_norm.h"
#include "model/ops/rms_norm.h"

namespace retort {
namespace {

at::Tensor Normalised(const at::Tensor& x, double eps) {
  return x * at::rsqrt(x.square().mean({-1}, /*keepdim=*/true) + eps);
}

}  // namespace

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight_E, double eps) {
  if (KernelsTake(x)) return FusedRmsNorm(x, weight_E, eps);
  return Normalised(x, eps) * weight_E;
}

at::Tensor LayerNorm(const at::Tensor& x, const at::Tensor& weight_E, const at::Tensor& bias_E, double eps) {
  return at::layer_norm(x, weight_E.sizes(), weight_E, bias_E, eps);
}

at::Tensor GatedRmsNorm(const at::Tensor& x, const at::Tensor& z, const at::Tensor& weight_M, int64_t groups,
                        double eps) {
  if (KernelsTake(x)) return GatedNorm(x, z, weight_M, groups, eps);
  const at::Tensor gated = x * at::silu(z);
  return Normalised(gated.unflatten(-1, {groups, -1}), eps).flatten(-2) * weight_M;
}

}  // namespace retort
