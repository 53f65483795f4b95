#include "kernels/rotary/rotary_ref.h"

namespace retort {

std::vector<double> RotaryRef(const RotaryShape& shape, const std::vector<double>& x_BHTD,
                              const std::vector<double>& cos, const std::vector<double>& sin, bool back) {
  std::vector<double> y(x_BHTD.size());
  const int64_t half = shape.width / 2;
  for (int64_t row = 0; row < shape.batch * shape.heads * shape.tokens; ++row) {
    for (int64_t i = 0; i < half; ++i) {
      const int64_t angle = row % shape.tokens * half + i, first = row * shape.width + i;
      const double c = cos[angle], s = back ? -sin[angle] : sin[angle];
      y[first] = x_BHTD[first] * c - x_BHTD[first + half] * s;
      y[first + half] = x_BHTD[first + half] * c + x_BHTD[first] * s;
    }
  }
  return y;
}

}  // namespace retort
