#include <algorithm>
#include <cmath>

#include "kernels/base/workspace.h"
#include "kernels/step_sizes/step_sizes_simd.h"

namespace retort {
namespace {

constexpr int64_t kItemFloats = 16384;  // some 30 us: what has fewer stays on one core

int64_t ItemRows(int64_t heads) { return std::max<int64_t>(kItemFloats / heads, 1); }

int64_t Items(int64_t rows, int64_t heads) { return (rows + ItemRows(heads) - 1) / ItemRows(heads); }

void FillRates(const float* a_log_H, int64_t heads, float* rates_H) {
  for (int64_t h = 0; h < heads; ++h) rates_H[h] = std::exp(a_log_H[h]);
}

}  // namespace

void StepSizesForward(const StepSizesForwardArgs& args, const Executor& executor, InstructionSet set) {
  const auto forward_rows = RETORT_SIMD_CHOOSE(set, StepSizesForwardRows);
  const Workspace rates_H(args.heads);
  FillRates(args.a_log_H, args.heads, rates_H.data());
  const int64_t item_rows = ItemRows(args.heads);
  executor.Run(Items(args.rows, args.heads), [&](int64_t item) {
    forward_rows(args, rates_H.data(), item * item_rows, std::min((item + 1) * item_rows, args.rows));
  });
}

void StepSizesBackward(const StepSizesBackwardArgs& args, const Executor& executor, InstructionSet set) {
  const auto backward_rows = RETORT_SIMD_CHOOSE(set, StepSizesBackwardRows);
  const int64_t heads = args.heads, items = Items(args.rows, heads), item_rows = ItemRows(heads);
  const Workspace rates_H(heads), sums_I2H(items * 2 * heads);
  FillRates(args.a_log_H, heads, rates_H.data());
  std::fill_n(sums_I2H.data(), items * 2 * heads, 0.0f);
  executor.Run(items, [&](int64_t item) {
    backward_rows(args, rates_H.data(), item * item_rows, std::min((item + 1) * item_rows, args.rows),
                  sums_I2H.data() + item * 2 * heads);
  });
  for (int64_t h = 0; h < heads; ++h) {
    double dbias = 0, da_log = 0;
    for (int64_t item = 0; item < items; ++item) {
      dbias += sums_I2H.data()[item * 2 * heads + h];
      da_log += sums_I2H.data()[(item * 2 + 1) * heads + h];
    }
    args.dbias_H[h] = static_cast<float>(dbias);
    args.da_log_H[h] = static_cast<float>(da_log);
  }
}

}  // namespace retort
