#include "kernels/rotary/rotary_simd.h"

#include "kernels/base/simd.h"

namespace retort::RETORT_ISA {

// Heads of a token lie side by side in a projection's output and share the token's angles.
void RotaryTokens(const RotaryArgs& args, int64_t batch, int64_t begin, int64_t end) {
  const auto& [batches, heads, tokens, width] = args.shape;
  const int64_t half = width / 2;
  const Float sign = Broadcast(args.back ? -1.0f : 1.0f);
  for (int64_t t = begin; t < end; ++t) {
    const float *cos = args.cos + t * half, *sin = args.sin + t * half;
    for (int64_t h = 0; h < heads; ++h) {
      const float* x =
          args.x.data + batch * args.x.batch_stride + h * args.x.head_stride + t * args.x.token_stride;
      float* y = args.y_BHTD + ((batch * heads + h) * tokens + t) * width;
      ForEachVector(
          half, [=](int64_t i, auto load, auto store) __attribute__((always_inline)) {
            const Float first = load(x + i), second = load(x + half + i);
            const Float c = load(cos + i), s = load(sin + i) * sign;
            store(y + i, NegMulAdd(second, s, first * c));
            store(y + half + i, MulAdd(first, s, second * c));
          });
    }
  }
}

}  // namespace retort::RETORT_ISA
