#include <cstdio>
#include <cstdlib>

#include "kernels/attention/attention_simd.h"
#include "kernels/base/workspace.h"

namespace retort {
namespace {

void CheckShape(const AttentionKernelShape& s) {
  if (s.key_heads > 0 && s.heads % s.key_heads == 0 && AttentionKernelTakes(s.width)) return;
  std::fprintf(stderr, "CausalAttention: heads %lld, key heads %lld, width %lld\n",
               static_cast<long long>(s.heads), static_cast<long long>(s.key_heads),
               static_cast<long long>(s.width));
  std::abort();
}

}  // namespace

void CausalAttention(const AttentionArgs& args, const Executor& executor, InstructionSet set) {
  const AttentionKernelShape& shape = args.shape;
  CheckShape(shape);
  const int64_t tiles = AttentionTiles(shape.tokens), tile_floats = shape.width * kAttentionKeys;
  const Workspace keys(shape.batch * shape.key_heads * tiles * tile_floats);
  const auto pack = RETORT_SIMD_CHOOSE(set, AttentionPackKeys);
  executor.Run(shape.batch * shape.key_heads * tiles, [&](int64_t item) {
    pack(args, item / tiles / shape.key_heads, item / tiles % shape.key_heads, item % tiles,
         keys.data() + item * tile_floats);
  });

  const auto queries = RETORT_SIMD_CHOOSE(set, AttentionQueries);
  const int64_t blocks = (shape.tokens + kAttentionQueries - 1) / kAttentionQueries;
  const int64_t all_heads = shape.batch * shape.heads;
  executor.Run(blocks * all_heads, [&](int64_t item) {
    // The longest rows first: what is left when a thread has no more is short.
    const int64_t block = blocks - 1 - item / all_heads, batch = item % all_heads / shape.heads;
    const int64_t head = item % shape.heads, key_head = head / (shape.heads / shape.key_heads);
    const Workspace memory(AttentionWorkspace(shape));
    queries(args, batch, head, block * kAttentionQueries,
            keys.data() + (batch * shape.key_heads + key_head) * tiles * tile_floats, memory.data());
  });
}

}  // namespace retort
