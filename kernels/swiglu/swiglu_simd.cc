#include "kernels/swiglu/swiglu_simd.h"

#include "kernels/base/simd.h"

namespace retort::RETORT_ISA {

void SwigluForwardRange(const SwigluForwardArgs& args, int64_t begin, int64_t end) {
  const float *gate = args.gate + begin, *up = args.up + begin;
  float* y = args.y + begin;
  ForEachVector(
      end - begin, [=](int64_t i, auto load, auto store) __attribute__((always_inline)) {
        const Float g = load(gate + i);
        store(y + i, g * Sigmoid(g) * load(up + i));
      });
}

void SwigluBackwardRange(const SwigluBackwardArgs& args, int64_t begin, int64_t end) {
  const float *gate = args.gate + begin, *up = args.up + begin, *dy = args.dy + begin;
  float *dgate = args.dgate + begin, *dup = args.dup + begin;
  ForEachVector(
      end - begin, [=](int64_t i, auto load, auto store) __attribute__((always_inline)) {
        const Float g = load(gate + i), slope = load(dy + i), sigmoid = Sigmoid(g), silu = g * sigmoid;
        store(dup + i, slope * silu);
        store(dgate + i, slope * load(up + i) * MulAdd(silu, Broadcast(1.0f) - sigmoid, sigmoid));
      });
}

}  // namespace retort::RETORT_ISA
