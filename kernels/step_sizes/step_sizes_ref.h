// kernels/step_sizes in float64, as the equations stand: what the fast versions are tested against.
#pragma once

#include <cmath>
#include <vector>

namespace retort {

struct StepSizesRef {
  std::vector<double> dt, log_decay;  // [R, H]
};

inline StepSizesRef StepSizesForwardRef(const std::vector<double>& raw_RH, const std::vector<double>& bias_H,
                                        const std::vector<double>& a_log_H) {
  StepSizesRef result;
  for (size_t i = 0; i < raw_RH.size(); ++i) {
    const size_t h = i % bias_H.size();
    const double v = raw_RH[i] + bias_H[h];
    result.dt.push_back(std::fmax(v, 0.0) + std::log1p(std::exp(-std::abs(v))));
    result.log_decay.push_back(-std::exp(a_log_H[h]) * result.dt.back());
  }
  return result;
}

struct StepSizesRefGradients {
  std::vector<double> raw_RH, bias_H, a_log_H;
};

inline StepSizesRefGradients StepSizesBackwardRef(const std::vector<double>& raw_RH,
                                                  const std::vector<double>& bias_H,
                                                  const std::vector<double>& a_log_H,
                                                  const std::vector<double>& ddt,
                                                  const std::vector<double>& dlog_decay) {
  const size_t heads = bias_H.size();
  const StepSizesRef forward = StepSizesForwardRef(raw_RH, bias_H, a_log_H);
  StepSizesRefGradients grad = {{}, std::vector<double>(heads), std::vector<double>(heads)};
  for (size_t i = 0; i < raw_RH.size(); ++i) {
    const size_t h = i % heads;
    const double s = 1 / (1 + std::exp(-(raw_RH[i] + bias_H[h])));
    grad.raw_RH.push_back((ddt[i] - std::exp(a_log_H[h]) * dlog_decay[i]) * s);
    grad.bias_H[h] += grad.raw_RH.back();
    grad.a_log_H[h] += dlog_decay[i] * forward.log_decay[i];
  }
  return grad;
}

}  // namespace retort
