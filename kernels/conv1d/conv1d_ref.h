// kernels/conv1d in float64, as the equations stand: what the fast versions are tested against. Arrays are
// contiguous in the layouts of conv1d.h; an empty one is absent.
#pragma once

#include <vector>

#include "kernels/conv1d/conv1d.h"

namespace retort {

struct Conv1dRefInputs {
  Conv1dShape shape;
  std::vector<double> x_BTC, weight_CK, bias_C, initial_BKC;
};

struct Conv1dRefOutputs {
  std::vector<double> y_BTC, final_state_BKC;
};
Conv1dRefOutputs Conv1dForwardRef(const Conv1dRefInputs& inputs);

struct Conv1dRefGradients {
  std::vector<double> x_BTC, weight_CK, bias_C, initial_BKC;
};
Conv1dRefGradients Conv1dBackwardRef(const Conv1dRefInputs& inputs, const std::vector<double>& dy_BTC,
                                     const std::vector<double>& dfinal_BKC);

}  // namespace retort
