#include "kernels/conv1d/conv1d_ref.h"

#include <cmath>

namespace retort {
namespace {

// Row t of the sequence with its initial rows in front: t = -(K-1) is the first of them.
class ExtendedRows {
 public:
  ExtendedRows(const Conv1dShape& shape, std::vector<double>& x, std::vector<double>& initial)
      : shape_(shape), x_(x), initial_(initial) {}
  // Null for a row before the sequence when there is no initial state.
  double* At(int64_t b, int64_t t, int64_t c) {
    if (t >= 0) return &x_[(b * shape_.tokens + t) * shape_.channels + c];
    if (initial_.empty()) return nullptr;
    return &initial_[(b * (shape_.taps - 1) + t + shape_.taps - 1) * shape_.channels + c];
  }

 private:
  const Conv1dShape& shape_;
  std::vector<double>&x_, &initial_;
};

double Sigmoid(double u) { return 1.0 / (1.0 + std::exp(-u)); }

template <class Body>
void ForEachElement(int64_t batch, int64_t rows, int64_t channels, const Body& body) {
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t c = 0; c < channels; ++c) body(b, t, c);
    }
  }
}

double PreActivation(const Conv1dRefInputs& inputs, ExtendedRows& x, int64_t b, int64_t t, int64_t c) {
  const int64_t taps = inputs.shape.taps;
  double u = inputs.bias_C.empty() ? 0.0 : inputs.bias_C[c];
  for (int64_t w = 0; w < taps; ++w) {
    const double* row = x.At(b, t - (taps - 1) + w, c);
    if (row != nullptr) u += inputs.weight_CK[c * taps + w] * *row;
  }
  return u;
}

}  // namespace

Conv1dRefOutputs Conv1dForwardRef(const Conv1dRefInputs& given) {
  Conv1dRefInputs inputs = given;
  const Conv1dShape& shape = inputs.shape;
  ExtendedRows x(shape, inputs.x_BTC, inputs.initial_BKC);
  Conv1dRefOutputs out;
  ForEachElement(shape.batch, shape.tokens, shape.channels, [&](int64_t b, int64_t t, int64_t c) {
    const double u = PreActivation(inputs, x, b, t, c);
    out.y_BTC.push_back(shape.silu ? u * Sigmoid(u) : u);
  });
  ForEachElement(shape.batch, shape.taps - 1, shape.channels, [&](int64_t b, int64_t k, int64_t c) {
    const double* row = x.At(b, shape.tokens - (shape.taps - 1) + k, c);
    out.final_state_BKC.push_back(row != nullptr ? *row : 0.0);
  });
  return out;
}

Conv1dRefGradients Conv1dBackwardRef(const Conv1dRefInputs& given, const std::vector<double>& dy_BTC,
                                     const std::vector<double>& dfinal_BKC) {
  Conv1dRefInputs inputs = given;
  const Conv1dShape& shape = inputs.shape;
  ExtendedRows x(shape, inputs.x_BTC, inputs.initial_BKC);
  Conv1dRefGradients grad = {
      std::vector<double>(inputs.x_BTC.size()), std::vector<double>(inputs.weight_CK.size()),
      std::vector<double>(shape.channels), std::vector<double>(inputs.initial_BKC.size())};
  ExtendedRows dx(shape, grad.x_BTC, grad.initial_BKC);
  ForEachElement(shape.batch, shape.tokens, shape.channels, [&](int64_t b, int64_t t, int64_t c) {
    const double u = PreActivation(inputs, x, b, t, c), sigmoid = Sigmoid(u);
    const double slope = shape.silu ? sigmoid * (1 + u * (1 - sigmoid)) : 1.0;
    const double g = dy_BTC[(b * shape.tokens + t) * shape.channels + c] * slope;
    grad.bias_C[c] += g;
    for (int64_t w = 0; w < shape.taps; ++w) {
      const int64_t row = t - (shape.taps - 1) + w;
      if (x.At(b, row, c) == nullptr) continue;
      grad.weight_CK[c * shape.taps + w] += g * *x.At(b, row, c);
      *dx.At(b, row, c) += g * inputs.weight_CK[c * shape.taps + w];
    }
  });
  if (dfinal_BKC.empty()) return grad;
  ForEachElement(shape.batch, shape.taps - 1, shape.channels, [&](int64_t b, int64_t k, int64_t c) {
    double* row = dx.At(b, shape.tokens - (shape.taps - 1) + k, c);
    if (row != nullptr) *row += dfinal_BKC[(b * (shape.taps - 1) + k) * shape.channels + c];
  });
  return grad;
}

}  // namespace retort
