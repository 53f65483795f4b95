#include <algorithm>

#include "kernels/rotary/rotary_simd.h"

namespace retort {
namespace {

constexpr int64_t kItemFloats = 16384;  // some 3 us: what has fewer stays on one core

}  // namespace

void Rotary(const RotaryArgs& args, const Executor& executor, InstructionSet set) {
  const auto tokens_body = RETORT_SIMD_CHOOSE(set, RotaryTokens);
  const auto& [batch, heads, tokens, width] = args.shape;
  const int64_t item_tokens = std::max<int64_t>(kItemFloats / std::max<int64_t>(heads * width, 1), 1);
  const int64_t runs = (tokens + item_tokens - 1) / item_tokens, count = tokens;
  executor.Run(batch * runs, [&args, tokens_body, item_tokens, runs, count](int64_t item) {
    const int64_t begin = item % runs * item_tokens;
    tokens_body(args, item / runs, begin, std::min(begin + item_tokens, count));
  });
}

}  // namespace retort
