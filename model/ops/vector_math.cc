#include "model/ops/vector_math.h"

#include <ATen/ATen.h>

namespace retort {

void ChooseVectorMath() {
  // All that ATen/cpu/vml.h gives to MKL.
  for (at::Tensor (*const function)(const at::Tensor&) :
       {&at::acos, &at::asin, &at::atan, &at::cos, &at::erf, &at::erfc, &at::erfinv, &at::exp, &at::log,
        &at::log10, &at::log2, &at::sin, &at::sqrt, &at::tan, &at::tanh, &at::trunc}) {
    for (const at::ScalarType type : {at::kFloat, at::kDouble}) function(at::full({1}, 0.5, type));
  }
}

}  // namespace retort
