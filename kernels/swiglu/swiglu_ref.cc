#include "kernels/swiglu/swiglu_ref.h"

#include <cmath>

namespace retort {
namespace {

double Sigmoid(double g) { return 1.0 / (1.0 + std::exp(-g)); }

}  // namespace

std::vector<double> SwigluForwardRef(const std::vector<double>& gate, const std::vector<double>& up) {
  std::vector<double> y(gate.size());
  for (size_t i = 0; i < y.size(); ++i) y[i] = gate[i] * Sigmoid(gate[i]) * up[i];
  return y;
}

SwigluRefGradients SwigluBackwardRef(const std::vector<double>& gate, const std::vector<double>& up,
                                     const std::vector<double>& dy) {
  SwigluRefGradients grad = {std::vector<double>(gate.size()), std::vector<double>(gate.size())};
  for (size_t i = 0; i < gate.size(); ++i) {
    const double s = Sigmoid(gate[i]);
    grad.gate[i] = dy[i] * up[i] * s * (1 + gate[i] * (1 - s));
    grad.up[i] = dy[i] * gate[i] * s;
  }
  return grad;
}

}  // namespace retort
