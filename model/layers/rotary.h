// Rotary position embedding in the Llama layout: of the first R features of a head, i turns together with
// i + R/2; the others stay as they are.
// B batch, H heads, T tokens, D head width, R <= D.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/io/model_config.h"

namespace retort {

// Angles of a run of positions: cos and sin, each [T, R/2].
struct RotaryTable {
  at::Tensor cos, sin;
};

RotaryTable MakeRotaryTable(int64_t first_position, int64_t tokens, const RotaryEncoding& encoding);

// x turned by the table's T positions.
at::Tensor ApplyRotary(const at::Tensor& x_BHTD, const RotaryTable& table);

}  // namespace retort
