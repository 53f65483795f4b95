#include "model/layers/rotary.h"

#include <ATen/ATen.h>

#include <cmath>

#include "model/ops/compute_path.h"
#include "model/ops/rotary.h"

namespace retort {

namespace {

// As transformers' "llama3" (modeling_rope_utils.py).
at::Tensor Stretched(const at::Tensor& frequency, const Llama3Scaling& scaling) {
  const double context = static_cast<double>(scaling.context);
  const at::Tensor wavelength = 2.0 * M_PI / frequency;
  const at::Tensor smooth =
      (context / wavelength - scaling.low_frequency) / (scaling.high_frequency - scaling.low_frequency);
  const at::Tensor slow = frequency / scaling.factor;
  const at::Tensor between = (1.0 - smooth) * slow + smooth * frequency;
  const at::Tensor stretched = at::where(wavelength > context / scaling.low_frequency, slow, between);
  return at::where(wavelength < context / scaling.high_frequency, frequency, stretched);
}

}  // namespace

RotaryTable MakeRotaryTable(int64_t first_position, int64_t tokens, const RotaryEncoding& encoding) {
  // float32 throughout, as transformers computes it: at position 8000 float64 angles differ by 1e-4.
  const at::Tensor exponent =
      at::arange(0, encoding.width, 2, at::kFloat) / static_cast<float>(encoding.width);
  at::Tensor frequency = at::pow(static_cast<float>(encoding.theta), exponent).reciprocal();
  if (encoding.scaling.has_value()) frequency = Stretched(frequency, *encoding.scaling);
  const at::Tensor position = at::arange(first_position, first_position + tokens, at::kFloat);
  const at::Tensor angle = position.unsqueeze(1) * frequency.unsqueeze(0);
  return {angle.cos(), angle.sin()};
}

at::Tensor ApplyRotary(const at::Tensor& x_BHTD, const RotaryTable& table) {
  const int64_t half = table.cos.size(-1), rest = x_BHTD.size(-1) - 2 * half;
  if (rest > 0) {
    const at::Tensor turned = ApplyRotary(x_BHTD.narrow(-1, 0, 2 * half), table);
    return at::cat({turned, x_BHTD.narrow(-1, 2 * half, rest)}, -1);
  }
  if (KernelsTake(x_BHTD)) return FusedRotary(x_BHTD, table.cos, table.sin);
  const at::Tensor first = x_BHTD.narrow(-1, 0, half), second = x_BHTD.narrow(-1, half, half);
  return at::cat({first * table.cos - second * table.sin, second * table.cos + first * table.sin}, -1);
}

}  // namespace retort
