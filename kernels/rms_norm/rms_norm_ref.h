// kernels/rms_norm in float64, as the equations stand: what the fast versions are tested against. Arrays
// are contiguous.
#pragma once

#include <vector>

#include "kernels/rms_norm/rms_norm.h"

namespace retort {

struct RmsNormRefInputs {
  RmsNormShape shape;
  std::vector<double> x_RM, z_RM, weight_M;  // z empty: no gate
};

std::vector<double> RmsNormForwardRef(const RmsNormRefInputs& inputs);

struct RmsNormRefGradients {
  std::vector<double> x_RM, z_RM, weight_M;  // z empty without a gate
};
RmsNormRefGradients RmsNormBackwardRef(const RmsNormRefInputs& inputs, const std::vector<double>& dy_RM);

}  // namespace retort
