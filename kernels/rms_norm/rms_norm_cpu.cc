#include <algorithm>

#include "kernels/base/workspace.h"
#include "kernels/rms_norm/rms_norm_simd.h"

namespace retort {
namespace {

constexpr int64_t kForwardRows = 16;   // an item's rows: enough work to be worth handing over
constexpr int64_t kBackwardRows = 64;  // more, since each item leaves a row of dweight to be summed
constexpr int64_t kReducedChannels = 256;

int64_t Items(int64_t size, int64_t per_item) { return (size + per_item - 1) / per_item; }

// dweight of one block of channels from the items' parts, [item, M].
void ReduceWeightGradient(const RmsNormBackwardArgs& args, const float* parts, int64_t items, int64_t block) {
  const int64_t channels = args.shape.groups * args.shape.width, begin = block * kReducedChannels;
  const int64_t end = std::min(begin + kReducedChannels, channels);
  std::fill(args.dweight_M + begin, args.dweight_M + end, 0.0f);
  for (int64_t item = 0; item < items; ++item) {
    for (int64_t c = begin; c < end; ++c) args.dweight_M[c] += parts[item * channels + c];
  }
}

}  // namespace

void RmsNormForward(const RmsNormForwardArgs& args, const Executor& executor, InstructionSet set) {
  const auto rows_body = RETORT_SIMD_CHOOSE(set, RmsNormForwardRows);
  executor.Run(Items(args.shape.rows, kForwardRows), [&](int64_t item) {
    rows_body(args, item * kForwardRows, std::min((item + 1) * kForwardRows, args.shape.rows));
  });
}

void RmsNormBackward(const RmsNormBackwardArgs& args, const Executor& executor, InstructionSet set) {
  const auto rows_body = RETORT_SIMD_CHOOSE(set, RmsNormBackwardRows);
  const int64_t items = Items(args.shape.rows, kBackwardRows);
  const int64_t channels = args.shape.groups * args.shape.width;
  const Workspace parts(items * channels);
  executor.Run(items, [&](int64_t item) {
    rows_body(args, item * kBackwardRows, std::min((item + 1) * kBackwardRows, args.shape.rows),
              parts.data() + item * channels);
  });
  if (args.dweight_M == nullptr) return;
  executor.Run(Items(channels, kReducedChannels),
               [&](int64_t block) { ReduceWeightGradient(args, parts.data(), items, block); });
}

}  // namespace retort
