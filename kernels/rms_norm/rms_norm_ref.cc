#include "kernels/rms_norm/rms_norm_ref.h"

#include <cmath>

namespace retort {
namespace {

double Sigmoid(double z) { return 1.0 / (1.0 + std::exp(-z)); }

// Calls body(begin, channel) for each group of each row: where it begins in [R, M] and in [M].
template <class Body>
void ForEachGroup(const RmsNormShape& shape, const Body& body) {
  for (int64_t row = 0; row < shape.rows; ++row) {
    for (int64_t group = 0; group < shape.groups; ++group) {
      body((row * shape.groups + group) * shape.width, group * shape.width);
    }
  }
}

// u
double Gated(const RmsNormRefInputs& inputs, int64_t i) {
  return inputs.z_RM.empty() ? inputs.x_RM[i] : inputs.x_RM[i] * inputs.z_RM[i] * Sigmoid(inputs.z_RM[i]);
}

double InverseDeviation(const RmsNormRefInputs& inputs, int64_t begin) {
  const int64_t width = inputs.shape.width;
  double squares = 0;
  for (int64_t i = begin; i < begin + width; ++i) squares += Gated(inputs, i) * Gated(inputs, i);
  return 1.0 / std::sqrt(squares / static_cast<double>(width) + inputs.shape.eps);
}

}  // namespace

std::vector<double> RmsNormForwardRef(const RmsNormRefInputs& inputs) {
  std::vector<double> y(inputs.x_RM.size());
  ForEachGroup(inputs.shape, [&](int64_t begin, int64_t channel) {
    const double r = InverseDeviation(inputs, begin);
    for (int64_t i = 0; i < inputs.shape.width; ++i) {
      y[begin + i] = inputs.weight_M[channel + i] * Gated(inputs, begin + i) * r;
    }
  });
  return y;
}

RmsNormRefGradients RmsNormBackwardRef(const RmsNormRefInputs& inputs, const std::vector<double>& dy_RM) {
  const std::vector<double>&x = inputs.x_RM, &z = inputs.z_RM, &weight = inputs.weight_M;
  const auto& shape = inputs.shape;
  RmsNormRefGradients grad = {std::vector<double>(x.size()), std::vector<double>(z.size()),
                              std::vector<double>(weight.size())};
  ForEachGroup(shape, [&](int64_t begin, int64_t channel) {
    const double r = InverseDeviation(inputs, begin);
    double dot = 0;  // sum(v u)
    for (int64_t i = 0; i < shape.width; ++i)
      dot += dy_RM[begin + i] * weight[channel + i] * Gated(inputs, begin + i);
    for (int64_t i = 0; i < shape.width; ++i) {
      const int64_t at = begin + i;
      const double v = dy_RM[at] * weight[channel + i];
      const double du = r * (v - Gated(inputs, at) * r * r * dot / static_cast<double>(shape.width));
      grad.weight_M[channel + i] += dy_RM[at] * Gated(inputs, at) * r;
      grad.x_RM[at] = du;
      if (z.empty()) continue;
      const double sigmoid = Sigmoid(z[at]);
      grad.x_RM[at] = du * z[at] * sigmoid;
      grad.z_RM[at] = du * x[at] * sigmoid * (1 + z[at] * (1 - sigmoid));
    }
  });
  return grad;
}

}  // namespace retort
