// kernels/rotary in float64, as the equations stand: what the fast versions are tested against. Arrays are
// contiguous.
#pragma once

#include <vector>

#include "kernels/rotary/rotary.h"

namespace retort {

std::vector<double> RotaryRef(const RotaryShape& shape, const std::vector<double>& x_BHTD,
                              const std::vector<double>& cos, const std::vector<double>& sin, bool back);

}  // namespace retort
