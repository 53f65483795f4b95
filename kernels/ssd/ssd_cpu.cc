#include <memory>

#include "kernels/base/workspace.h"
#include "kernels/ssd/ssd.h"
#include "kernels/ssd/ssd_simd.h"

namespace retort {
namespace {

// Sums the heads of each group: per_head [B, T, H, N] contiguous, to [B, T, G, N].
void SumHeads(const SsdShape& shape, const float* per_head_BTHN, const SsdArray<float>& to,
              const Executor& executor, InstructionSet set) {
  constexpr int64_t kTokens = 64;  // of a work item
  const int64_t shared = shape.heads / shape.groups, blocks = (shape.tokens + kTokens - 1) / kTokens;
  const auto sum = RETORT_SIMD_CHOOSE(set, SsdSumHeads);
  executor.Run(shape.batch * blocks, [&](int64_t item) {
    const int64_t batch = item / blocks, first = item % blocks * kTokens;
    for (int64_t t = first; t < shape.tokens && t < first + kTokens; ++t) {
      const float* const heads_HN = per_head_BTHN + (batch * shape.tokens + t) * shape.heads * shape.state;
      for (int64_t g = 0; g < shape.groups; ++g) {
        sum(shape.state, shared, heads_HN + g * shared * shape.state, shape.state,
            to.data + batch * to.batch + t * to.token + g * to.head);
      }
    }
  });
}

}  // namespace

void SsdForward(const SsdForwardArguments<float>& arguments, const Executor& executor, InstructionSet set) {
  const SsdShape& shape = arguments.shape;
  const auto forward_head = RETORT_SIMD_CHOOSE(set, SsdForwardHead);
  executor.Run(shape.batch * shape.heads, [&](int64_t item) {
    const Workspace workspace(SsdForwardWorkspace(shape));
    forward_head(arguments, item / shape.heads, item % shape.heads, workspace.data());
  });
}

void SsdBackward(const SsdBackwardArguments<float>& arguments, const Executor& executor, InstructionSet set) {
  const SsdShape& shape = arguments.shape;
  const bool shared = shape.heads != shape.groups;
  const int64_t per_head = shape.batch * shape.tokens * shape.heads * shape.state;
  const Workspace db_BTHN(shared ? per_head : 0), dc_BTHN(shared ? per_head : 0);
  const Workspace dd_BH(shape.batch * shape.heads);
  const SsdArray<float> heads = {nullptr, shape.tokens * shape.heads * shape.state, shape.heads * shape.state,
                                 shape.state};
  const auto backward_head = RETORT_SIMD_CHOOSE(set, SsdBackwardHead);
  executor.Run(shape.batch * shape.heads, [&](int64_t item) {
    const int64_t batch = item / shape.heads, head = item % shape.heads;
    const auto target = [&](SsdArray<float> array, const Workspace& own) {
      if (shared) array = {own.data(), heads.batch, heads.token, heads.head};
      array.data += batch * array.batch + head * array.head;
      return array;
    };
    const SsdArray<float> db = target(arguments.db_BTGN, db_BTHN), dc = target(arguments.dc_BTGN, dc_BTHN);
    const Workspace workspace(SsdBackwardWorkspace(shape));
    backward_head(arguments, batch, head, {db.data, dc.data, db.token, dc.token, dd_BH.data() + item},
                  workspace.data());
  });
  if (shared) {
    SumHeads(shape, db_BTHN.data(), arguments.db_BTGN, executor, set);
    SumHeads(shape, dc_BTHN.data(), arguments.dc_BTGN, executor, set);
  }
  for (int64_t h = 0; arguments.dd_H != nullptr && h < shape.heads; ++h) {
    float sum = 0;
    for (int64_t b = 0; b < shape.batch; ++b) sum += dd_BH.data()[b * shape.heads + h];
    arguments.dd_H[h] = sum;
  }
}

void SsdStep(const SsdStepArguments& arguments, const Executor& executor, InstructionSet set) {
  const SsdShape& shape = arguments.shape;
  const auto step_head = RETORT_SIMD_CHOOSE(set, SsdStepHead);
  executor.Run(shape.batch * shape.heads,
               [&](int64_t item) { step_head(arguments, item / shape.heads, item % shape.heads); });
}

}  // namespace retort
