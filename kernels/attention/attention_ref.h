// kernels/attention in float64, as the equations stand: what the fast versions are tested against.
#pragma once

#include <vector>

#include "kernels/attention/attention.h"

namespace retort {

struct AttentionResult {
  std::vector<double> y_BTHD, lse_BHT;
  std::vector<double> magnitudes_BTHD;  // sum_j exp(s_ij - lse_i) |v_j|, for the tests' tolerance
};
// Arrays are contiguous.
AttentionResult AttentionRef(const AttentionKernelShape& shape, const std::vector<double>& q_BTHD,
                             const std::vector<double>& k_BTKD, const std::vector<double>& v_BTKD);

}  // namespace retort
