#include "kernels/base/simd_probe.h"

#include "kernels/base/tile.h"

namespace retort::RETORT_ISA {
namespace {

template <class Function>
void Map(int64_t count, const float* x, float* y, const Function& function) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t here = count - i < kLanes ? count - i : kLanes;
    StoreFirst(y + i, function(LoadFirst(x + i, here)), here);
  }
}

}  // namespace

void ProbeExp(int64_t count, const float* x, float* y) {
  Map(count, x, y, [](Float v) { return Exp(v); });
}

void ProbeSigmoid(int64_t count, const float* x, float* y) {
  Map(count, x, y, [](Float v) { return Sigmoid(v); });
}

void ProbeMultiply(int64_t m, int64_t n, int64_t k, bool transpose_a, const float* a, const float* b,
                   float* c) {
  Multiply<true>(m, n, k, transpose_a ? Operand{a, 1, m} : Operand{a, k, 1}, b, n, c, n);
}

void ProbeTranspose(int64_t rows, int64_t columns, const float* from, float* to) {
  Transpose(rows, columns, from, columns, to, rows);
}

void ProbeKeepFirst(int64_t count, const float* x, float* y) {
  for (int64_t i = 0; i < 64; i += kLanes) Store(y + i, KeepFirst(Load(x + i), count - i));
}

}  // namespace retort::RETORT_ISA
