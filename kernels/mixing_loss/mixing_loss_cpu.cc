#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/base/workspace.h"
#include "kernels/mixing_loss/mixing_loss.h"
#include "kernels/mixing_loss/mixing_loss_tiles.h"

namespace retort {
namespace {

// How the triangle of tiles is cut. Rows and columns of tiles form the same `bands` ranges. First each band
// meets itself; then come bands - 1 rounds in which every band meets one other, as players do in a
// tournament: within a round no two items write the same rows of grad_c or of grad_b, and no sums need
// merging.
struct Plan {
  int64_t chunks = 0;  // of a group's heads
  int64_t heads_at_once = 0;
  int64_t bands = 1;  // 1 or even
};

// Enough items a round for a handful of threads to share evenly; fewer rounds cost fewer barriers.
constexpr int64_t kItemsWanted = 8;

Plan MakePlan(const MixingLossShape& shape, int64_t tiles) {
  Plan plan;
  const int64_t heads = shape.heads / shape.groups;
  plan.chunks = (heads + kMixingLossHeadsAtOnce - 1) / kMixingLossHeadsAtOnce;
  plan.heads_at_once = (heads + plan.chunks - 1) / plan.chunks;
  const int64_t items = shape.batch * shape.groups * plan.chunks;
  if (items >= kItemsWanted || tiles == 1) return plan;
  plan.bands = 2;
  while (items * plan.bands / 2 < kItemsWanted && plan.bands * 2 <= tiles) plan.bands *= 2;
  return plan;
}

// The two bands of pair `pair` in round `round` of an even number of bands: the last one stays, the others
// turn.
std::pair<int64_t, int64_t> Meeting(int64_t bands, int64_t round, int64_t pair) {
  const int64_t ring = bands - 1;
  if (pair == 0) return {ring, round};
  const int64_t a = (round + pair) % ring, b = (round - pair + ring) % ring;
  return {std::max(a, b), std::min(a, b)};
}

void CheckShape(const MixingLossShape& s) {
  const bool fits = s.batch >= 0 && s.tokens >= 0 && s.heads > 0 && s.key_heads > 0 && s.groups > 0 &&
                    s.heads % s.key_heads == 0 && s.heads % s.groups == 0 &&
                    MixingLossTakesHeadDim(s.head_dim) && MixingLossTakesStateSize(s.state_size);
  if (fits) return;
  std::fprintf(
      stderr, "MixingLoss: heads %lld, key heads %lld, groups %lld, head width %lld, state size %lld\n",
      static_cast<long long>(s.heads), static_cast<long long>(s.key_heads), static_cast<long long>(s.groups),
      static_cast<long long>(s.head_dim), static_cast<long long>(s.state_size));
  std::abort();
}

// Points the arrays of `work` into one allocation, which it returns.
std::unique_ptr<Workspace> Allocate(MixingLossWork& work, std::vector<double>& sums) {
  const MixingLossShape& s = work.args.shape;
  const int64_t tiles = work.tiles, tokens = tiles * kMixingLossTile, bh = s.batch * s.heads;
  const int64_t keys = s.batch * s.key_heads * s.head_dim * tokens;
  const int64_t student = s.batch * s.groups * s.state_size * tokens;
  auto memory = std::make_unique<Workspace>(keys + 2 * student + 5 * bh * tokens + bh * tiles * (tiles + 1));
  float* next = memory->data();
  const auto take = [&next](int64_t floats) { return std::exchange(next, next + floats); };
  work.keys_BKnQt = take(keys);
  work.b_columns_BGnNt = take(student);
  work.b_rows_BGntN = take(student);
  for (float** array : {&work.dt_BHnt, &work.row_decay_BHnt, &work.column_decay_BHnt, &work.row_sum_BHnt,
                        &work.column_sum_BHnt}) {
    *array = take(bh * tokens);
  }
  work.tile_sum_BHnn = take(bh * tiles * tiles);
  work.tile_log_decay_BHn = take(bh * tiles);
  sums.resize(2 * bh * tiles);
  work.loss_BHn = sums.data();
  work.grad_d_BHn = sums.data() + bh * tiles;
  return memory;
}

void Pack(const MixingLossWork& work, InstructionSet set, const Executor& executor) {
  const MixingLossShape& s = work.args.shape;
  const auto pack_keys = RETORT_SIMD_CHOOSE(set, MixingLossPackKeys);
  const auto pack_student = RETORT_SIMD_CHOOSE(set, MixingLossPackStudent);
  const auto prepare_head = RETORT_SIMD_CHOOSE(set, MixingLossPrepareHead);
  const int64_t each = s.key_heads + s.groups + s.heads;
  executor.Run(s.batch * each, [&](int64_t item) {
    const int64_t batch = item / each, index = item % each;
    if (index < s.key_heads) {
      pack_keys(work, batch, index);
    } else if (index < s.key_heads + s.groups) {
      pack_student(work, batch, index - s.key_heads);
    } else {
      prepare_head(work, batch, index - s.key_heads - s.groups);
    }
  });
}

// Round -1 is that of each band with itself.
void WalkRound(const MixingLossWork& work, const Plan& plan, int64_t round, InstructionSet set,
               const Executor& executor) {
  const MixingLossShape& s = work.args.shape;
  const auto walk = RETORT_SIMD_CHOOSE(set, MixingLossWalk);
  const int64_t pairs = round < 0 ? plan.bands : plan.bands / 2, heads = s.heads / s.groups;
  executor.Run(s.batch * s.groups * plan.chunks * pairs, [&](int64_t item) {
    const int64_t pair = item % pairs, chunk = item / pairs % plan.chunks;
    const int64_t group = item / pairs / plan.chunks % s.groups;
    const auto [rows, columns] = round < 0 ? std::pair(pair, pair) : Meeting(plan.bands, round, pair);
    const auto begin = [&](int64_t band) { return band * work.tiles / plan.bands; };
    const int64_t first = chunk * plan.heads_at_once, last = std::min(first + plan.heads_at_once, heads);
    walk(work, {item / pairs / plan.chunks / s.groups, group * heads + first, group * heads + last,
                begin(rows), begin(rows + 1), begin(columns), begin(columns + 1)});
  });
}

}  // namespace

bool MixingLossTakesStateSize(int64_t state_size) {
  return state_size >= 16 && state_size <= 256 && state_size % 16 == 0;
}

bool MixingLossTakesHeadDim(int64_t head_dim) { return head_dim >= 1 && head_dim <= 256; }

void MixingLoss(const MixingLossArgs<float>& args, InstructionSet set, const Executor& executor) {
  CheckShape(args.shape);
  const MixingLossShape& s = args.shape;
  const int64_t bh = s.batch * s.heads;
  if (s.tokens == 0) {
    std::fill_n(args.loss_BH, bh, 0.0f);
    if (args.grad_d_BH != nullptr) std::fill_n(args.grad_d_BH, bh, 0.0f);
    return;
  }
  MixingLossWork work;
  work.args = args;
  work.tiles = (s.tokens + kMixingLossTile - 1) / kMixingLossTile;
  std::vector<double> sums;
  const std::unique_ptr<Workspace> memory = Allocate(work, sums);
  const Plan plan = MakePlan(s, work.tiles);
  Pack(work, set, executor);
  for (int64_t round = -1; round < plan.bands - 1; ++round) WalkRound(work, plan, round, set, executor);
  const auto finish_head = RETORT_SIMD_CHOOSE(set, MixingLossFinishHead);
  executor.Run(bh, [&](int64_t item) { finish_head(work, item / s.heads, item % s.heads); });
}

}  // namespace retort
