#include <algorithm>
#include <cstring>

#include "kernels/base/workspace.h"
#include "kernels/conv1d/conv1d_simd.h"

namespace retort {
namespace {

struct Blocks {
  explicit Blocks(const Conv1dShape& shape)
      : shape(shape),
        token_blocks((shape.tokens + kConv1dTokenBlock - 1) / kConv1dTokenBlock),
        channel_blocks((shape.channels + kConv1dChannelBlock - 1) / kConv1dChannelBlock) {}

  int64_t count() const { return shape.batch * token_blocks * channel_blocks; }
  // Runs of tokens, over all channels: one row of partial sums each.
  int64_t runs() const { return shape.batch * token_blocks; }
  int64_t RunOf(int64_t item) const { return item / channel_blocks; }

  Conv1dItem Item(int64_t item) const {
    const int64_t token_begin = RunOf(item) % token_blocks * kConv1dTokenBlock;
    const int64_t channel_begin = item % channel_blocks * kConv1dChannelBlock;
    return {RunOf(item) / token_blocks, token_begin, std::min(token_begin + kConv1dTokenBlock, shape.tokens),
            channel_begin, std::min(kConv1dChannelBlock, shape.channels - channel_begin)};
  }

  const Conv1dShape& shape;
  const int64_t token_blocks, channel_blocks;
};

void WriteFinalState(const Conv1dForwardArgs& args) {
  const auto& [batch, tokens, channels, taps, silu] = args.shape;
  float* to = args.final_state_BKC;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = tokens - (taps - 1); t < tokens; ++t, to += channels) {
      if (t >= 0) {
        std::memcpy(to, args.x.data + b * args.x.batch_stride + t * args.x.token_stride,
                    channels * sizeof(float));
      } else if (args.initial_BKC != nullptr) {
        std::memcpy(to, args.initial_BKC + (b * (taps - 1) + t + taps - 1) * channels,
                    channels * sizeof(float));
      } else {
        std::memset(to, 0, channels * sizeof(float));
      }
    }
  }
}

void AddFinalGradient(const Conv1dBackwardArgs& args) {
  const auto& [batch, tokens, channels, taps, silu] = args.shape;
  const float* from = args.dfinal_BKC;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = tokens - (taps - 1); t < tokens; ++t, from += channels) {
      float* to = t >= 0 ? args.dx.data + b * args.dx.batch_stride + t * args.dx.token_stride
                  : args.dinitial_BKC != nullptr
                      ? args.dinitial_BKC + (b * (taps - 1) + t + taps - 1) * channels
                      : nullptr;
      if (to == nullptr) continue;
      for (int64_t c = 0; c < channels; ++c) to[c] += from[c];
    }
  }
}

// dweight and dbias of one block of channels from the runs' sums, [run, K + 1, C].
void ReduceSums(const Conv1dBackwardArgs& args, const Blocks& blocks, const float* sums, int64_t block) {
  const int64_t channels = args.shape.channels, taps = args.shape.taps;
  const int64_t begin = block * kConv1dChannelBlock, count = std::min(kConv1dChannelBlock, channels - begin);
  for (int64_t w = 0; w <= taps; ++w) {
    float total[kConv1dChannelBlock] = {};
    for (int64_t run = 0; run < blocks.runs(); ++run) {
      const float* part = sums + (run * (taps + 1) + w) * channels + begin;
      for (int64_t c = 0; c < count; ++c) total[c] += part[c];
    }
    if (w == taps && args.dbias_C != nullptr) std::memcpy(args.dbias_C + begin, total, count * sizeof(float));
    if (w == taps) break;
    for (int64_t c = 0; c < count; ++c) args.dweight_CK[(begin + c) * taps + w] = total[c];
  }
}

}  // namespace

void Conv1dForward(const Conv1dForwardArgs& args, const Executor& executor, InstructionSet set) {
  const Blocks blocks(args.shape);
  const auto item_body = RETORT_SIMD_CHOOSE(set, Conv1dForwardItem);
  executor.Run(blocks.count(), [&](int64_t item) { item_body(args, blocks.Item(item)); });
  if (args.final_state_BKC != nullptr) WriteFinalState(args);
}

void Conv1dBackward(const Conv1dBackwardArgs& args, const Executor& executor, InstructionSet set) {
  const Blocks blocks(args.shape);
  const auto item_body = RETORT_SIMD_CHOOSE(set, Conv1dBackwardItem);
  const int64_t run_sums = (args.shape.taps + 1) * args.shape.channels;
  const Workspace sums(blocks.runs() * run_sums);
  if (args.shape.tokens == 0 && args.dinitial_BKC != nullptr) {
    std::memset(args.dinitial_BKC, 0,
                args.shape.batch * (args.shape.taps - 1) * args.shape.channels * sizeof(float));
  }
  executor.Run(blocks.count(), [&](int64_t item) {
    item_body(args, blocks.Item(item), sums.data() + blocks.RunOf(item) * run_sums);
  });
  executor.Run(blocks.channel_blocks, [&](int64_t block) { ReduceSums(args, blocks, sums.data(), block); });
  if (args.dfinal_BKC != nullptr) AddFinalGradient(args);
}

}  // namespace retort
