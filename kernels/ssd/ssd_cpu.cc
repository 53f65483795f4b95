#include <algorithm>

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

// Every group's chunks, packed once for all its heads; nothing where each head is a group.
class GroupChunks {
 public:
  GroupChunks(const SsdShape& shape, const SsdArray<const float>& b_BTGN, const SsdArray<const float>& c_BTGN,
              const Executor& executor, InstructionSet set)
      : count_(shape.heads == shape.groups ? 0 : shape.batch * shape.groups * SsdChunks(shape)),
        memory_(count_ * SsdGroupChunkFloats(shape)) {
    const auto pack = RETORT_SIMD_CHOOSE(set, SsdPackGroupChunk);
    executor.Run(count_, [&](int64_t item) {
      const int64_t chunks = SsdChunks(shape), group = item / chunks;
      pack(shape, b_BTGN, c_BTGN, group / shape.groups, group % shape.groups, item % chunks,
           memory_.data() + item * SsdGroupChunkFloats(shape));
    });
  }
  const float* data() const { return count_ == 0 ? nullptr : memory_.data(); }

 private:
  int64_t count_;
  Workspace memory_;
};

// body(batch, first head, heads) over all heads, in work items that depend on the shape only.
template <class Body>
void RunHeads(const SsdShape& shape, const Executor& executor, const Body& body) {
  const int64_t per_item = SsdHeadsPerItem(shape), items = (shape.heads + per_item - 1) / per_item;
  executor.Run(shape.batch * items, [&](int64_t item) {
    const int64_t first = item % items * per_item;
    body(item / items, first, std::min(per_item, shape.heads - first));
  });
}

}  // namespace

void SsdForward(const SsdForwardArguments<float>& arguments, const Executor& executor, InstructionSet set) {
  const auto forward_heads = RETORT_SIMD_CHOOSE(set, SsdForwardHeads);
  const GroupChunks packed(arguments.shape, arguments.b_BTGN, arguments.c_BTGN, executor, set);
  RunHeads(arguments.shape, executor, [&](int64_t batch, int64_t first_head, int64_t heads) {
    const Workspace workspace(SsdForwardWorkspace(arguments.shape));
    forward_heads(arguments, packed.data(), batch, first_head, heads, workspace.data());
  });
}

void SsdBackward(const SsdBackwardArguments<float>& arguments, const Executor& executor, InstructionSet set) {
  const SsdShape& shape = arguments.shape;
  const bool shared = shape.heads != shape.groups;
  const int64_t row = shape.heads * shape.state;
  const Workspace db_BTHN(shared ? shape.batch * shape.tokens * row : 0);
  const Workspace dc_BTHN(shared ? shape.batch * shape.tokens * row : 0);
  const Workspace dd_BH(shape.batch * shape.heads);
  const auto per_head = [&](const SsdArray<float>& array, const Workspace& own) {
    return shared ? SsdArray<float>{own.data(), shape.tokens * row, row, shape.state} : array;
  };
  const SsdHeadGradients gradients = {per_head(arguments.db_BTGN, db_BTHN),
                                      per_head(arguments.dc_BTGN, dc_BTHN), dd_BH.data()};
  const auto backward_heads = RETORT_SIMD_CHOOSE(set, SsdBackwardHeads);
  const GroupChunks packed(shape, arguments.b_BTGN, arguments.c_BTGN, executor, set);
  RunHeads(shape, executor, [&](int64_t batch, int64_t first_head, int64_t heads) {
    const Workspace workspace(SsdBackwardWorkspace(shape));
    backward_heads(arguments, packed.data(), batch, first_head, heads, gradients, workspace.data());
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
  // Of the states in a work item: neighbours in memory stay on one core, whose prefetcher then runs ahead.
  constexpr int64_t kItemBytes = 1 << 20;
  const SsdShape& shape = arguments.shape;
  const auto step_head = RETORT_SIMD_CHOOSE(set, SsdStepHead);
  const int64_t state_bytes = shape.width * shape.state * static_cast<int64_t>(sizeof(float));
  const int64_t heads = shape.batch * shape.heads;
  const int64_t per_item = std::max<int64_t>(kItemBytes / std::max<int64_t>(state_bytes, 1), 1);
  executor.Run((heads + per_item - 1) / per_item, [&](int64_t item) {
    const int64_t first = item * per_item;
    for (int64_t head = first; head < std::min(first + per_item, heads); ++head) {
      step_head(arguments, head / shape.heads, head % shape.heads);
    }
  });
}

}  // namespace retort
