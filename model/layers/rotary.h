// Rotary position embedding in the Llama layout: feature i turns together with feature i + D/2.
// B batch, H heads, T tokens, D head width.
#pragma once

#include <ATen/core/Tensor.h>

namespace retort {

// Angles of a run of positions: cos and sin, each [T, D/2].
struct RotaryTable {
  at::Tensor cos, sin;
};

RotaryTable MakeRotaryTable(int64_t first_position, int64_t tokens, int64_t head_dim, double theta);

// x turned by the table's T positions.
at::Tensor ApplyRotary(const at::Tensor& x_BHTD, const RotaryTable& table);

}  // namespace retort
