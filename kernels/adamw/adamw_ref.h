// kernels/adamw in float64, as the equations stand: what the fast versions are tested against.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/adamw/adamw.h"

namespace retort {

inline void AdamWUpdateRef(const AdamWOptions& options, const std::vector<double>& gradient,
                           std::vector<double>& value, std::vector<double>& m, std::vector<double>& v) {
  for (size_t i = 0; i < value.size(); ++i) {
    m[i] = options.beta1 * m[i] + (1 - options.beta1) * gradient[i];
    v[i] = options.beta2 * v[i] + (1 - options.beta2) * gradient[i] * gradient[i];
    const double m_hat = m[i] / (1 - std::pow(options.beta1, options.step));
    const double v_hat = v[i] / (1 - std::pow(options.beta2, options.step));
    value[i] -= options.lr * (m_hat / (std::sqrt(v_hat) + options.eps) + options.weight_decay * value[i]);
  }
}

}  // namespace retort
