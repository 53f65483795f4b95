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

void ProbeSumsOfLanes(const float* terms, float* sums) {
  for (int64_t i = 0; i < 4; i += kFours) {
    Float block[kFours][4];
    for (int64_t r = 0; r < kFours; ++r) {
      for (int64_t c = 0; c < 4; ++c) {
        block[r][c] = Broadcast(0.0f);
        const float* const from = terms + ((i + r) * 4 + c) * 16;
        for (int64_t l = 0; l < 16; l += kLanes) block[r][c] = block[r][c] + Load(from + l);
      }
    }
    StoreFours(sums + i * 4, 4, SumsOfLanes(block));
  }
}

void ProbeRepeats(const float* rows, const float* columns, float* to) {
  for (int64_t i = 0; i < 4; i += kFours) {
    StoreFours(to + i * 4, 4, MulAdd(Broadcast(10.0f), RepeatEach(rows + i), RepeatFour(columns)));
  }
}

}  // namespace retort::RETORT_ISA
