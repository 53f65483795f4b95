#include "kernels/adamw/adamw_simd.h"

#include "kernels/base/simd.h"

namespace retort::RETORT_ISA {

void AdamWUpdateRange(const AdamWTensor& tensor, const AdamWFactors& factors, int64_t begin, int64_t end) {
  float* const value = tensor.value + begin;
  const float* const gradient = tensor.gradient + begin;
  float *const first = tensor.first_moment + begin, *const second = tensor.second_moment + begin;
  const AdamWFactors f = factors;
  ForEachVector(
      end - begin, [=](int64_t i, auto load, auto store) __attribute__((always_inline)) {
        const Float g = load(gradient + i);
        const Float m = MulAdd(Broadcast(f.gradient_share), g - load(first + i), load(first + i));
        const Float v = MulAdd(Broadcast(f.kept_second), load(second + i), Broadcast(f.second_share) * g * g);
        const Float root = MulAdd(Sqrt(v), Broadcast(f.inverse_root_correction), Broadcast(f.eps));
        store(first + i, m);
        store(second + i, v);
        store(value + i,
              NegMulAdd(Broadcast(f.step_size), m / root, Broadcast(f.kept_value) * load(value + i)));
      });
}

}  // namespace retort::RETORT_ISA
