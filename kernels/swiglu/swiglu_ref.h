// kernels/swiglu in float64, as the equations stand: what the fast versions are tested against.
#pragma once

#include <vector>

namespace retort {

std::vector<double> SwigluForwardRef(const std::vector<double>& gate, const std::vector<double>& up);

struct SwigluRefGradients {
  std::vector<double> gate, up;
};
SwigluRefGradients SwigluBackwardRef(const std::vector<double>& gate, const std::vector<double>& up,
                                     const std::vector<double>& dy);

}  // namespace retort
