#include "model/layers/rotary.h"

#include <ATen/ATen.h>

#include "model/ops/compute_path.h"
#include "model/ops/rotary.h"

namespace retort {

RotaryTable MakeRotaryTable(int64_t first_position, int64_t tokens, int64_t head_dim, double theta) {
  // float32 throughout, as transformers computes it: at position 8000 float64 angles differ by 1e-4.
  const at::Tensor exponent = at::arange(0, head_dim, 2, at::kFloat) / static_cast<float>(head_dim);
  const at::Tensor frequency = at::pow(static_cast<float>(theta), exponent).reciprocal();
  const at::Tensor position = at::arange(first_position, first_position + tokens, at::kFloat);
  const at::Tensor angle = position.unsqueeze(1) * frequency.unsqueeze(0);
  return {angle.cos(), angle.sin()};
}

at::Tensor ApplyRotary(const at::Tensor& x_BHTD, const RotaryTable& table) {
  if (KernelsTake(x_BHTD)) return FusedRotary(x_BHTD, table.cos, table.sin);
  const int64_t half = x_BHTD.size(-1) / 2;
  const at::Tensor first = x_BHTD.narrow(-1, 0, half), second = x_BHTD.narrow(-1, half, half);
  return at::cat({first * table.cos - second * table.sin, second * table.cos + first * table.sin}, -1);
}

}  // namespace retort
