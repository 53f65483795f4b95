// kernels/gated_norm in float64, as the equations stand: what the fast versions are tested against. Arrays
// are contiguous.
#pragma once

#include <vector>

#include "kernels/gated_norm/gated_norm.h"

namespace retort {

struct GatedNormRefInputs {
  GatedNormShape shape;
  std::vector<double> x_RM, z_RM, weight_M;
};

std::vector<double> GatedNormForwardRef(const GatedNormRefInputs& inputs);

struct GatedNormRefGradients {
  std::vector<double> x_RM, z_RM, weight_M;
};
GatedNormRefGradients GatedNormBackwardRef(const GatedNormRefInputs& inputs,
                                           const std::vector<double>& dy_RM);

}  // namespace retort
