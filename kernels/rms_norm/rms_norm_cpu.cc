#include <algorithm>

#include "kernels/base/workspace.h"
#include "kernels/rms_norm/rms_norm_simd.h"

namespace retort {
namespace {

constexpr int64_t kItemFloats = 16384;  // an item's least: some 3 us, so what has fewer stays on one core
constexpr int64_t kForwardRows = 16;
constexpr int64_t kBackwardRows = 64;  // more, since each item leaves a row of dweight to be summed
constexpr int64_t kReducedChannels = 256;

int64_t Channels(const RmsNormShape& shape) { return shape.groups * shape.width; }

int64_t ItemRows(const RmsNormShape& shape, int64_t least) {
  return std::max(least, kItemFloats / Channels(shape));
}

int64_t Items(int64_t size, int64_t per_item) { return (size + per_item - 1) / per_item; }

// dweight of one block of channels from the items' parts, [item, M].
void ReduceWeightGradient(const RmsNormBackwardArgs& args, const float* parts, int64_t items, int64_t block) {
  const int64_t channels = Channels(args.shape), begin = block * kReducedChannels;
  const int64_t end = std::min(begin + kReducedChannels, channels);
  std::fill(args.dweight_M + begin, args.dweight_M + end, 0.0f);
  for (int64_t item = 0; item < items; ++item) {
    for (int64_t c = begin; c < end; ++c) args.dweight_M[c] += parts[item * channels + c];
  }
}

}  // namespace

void RmsNormForward(const RmsNormForwardArgs& args, const Executor& executor, InstructionSet set) {
  const auto rows_body = RETORT_SIMD_CHOOSE(set, RmsNormForwardRows);
  const int64_t rows = args.shape.rows, item_rows = ItemRows(args.shape, kForwardRows);
  executor.Run(Items(rows, item_rows), [&](int64_t item) {
    rows_body(args, item * item_rows, std::min((item + 1) * item_rows, rows));
  });
}

void RmsNormBackward(const RmsNormBackwardArgs& args, const Executor& executor, InstructionSet set) {
  const auto rows_body = RETORT_SIMD_CHOOSE(set, RmsNormBackwardRows);
  const int64_t rows = args.shape.rows, item_rows = ItemRows(args.shape, kBackwardRows);
  const int64_t items = Items(rows, item_rows), channels = Channels(args.shape);
  const Workspace parts(items * channels);
  executor.Run(items, [&](int64_t item) {
    rows_body(args, item * item_rows, std::min((item + 1) * item_rows, rows), parts.data() + item * channels);
  });
  if (args.dweight_M == nullptr) return;
  executor.Run(Items(channels, kReducedChannels),
               [&](int64_t block) { ReduceWeightGradient(args, parts.data(), items, block); });
}

}  // namespace retort
