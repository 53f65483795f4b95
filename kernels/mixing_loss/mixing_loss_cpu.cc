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

// Into how many shares backward cuts each group's rows: enough for a handful of threads to share evenly, with
// at least two rows of tiles each; every share costs a partial grad_b.
int64_t SharesOf(const MixingLossShape& shape, int64_t tiles) {
  constexpr int64_t kItemsWanted = 12, kMost = 8;
  const int64_t wanted = (kItemsWanted - 1) / (shape.batch * shape.groups) + 1;
  return std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, std::min(kMost, tiles / 2)));
}

// A call's memory in one piece.
class Arrays {
 public:
  void Want(float*& array, int64_t floats) {
    wants_.push_back({&array, floats});
    total_ += floats;
  }
  void Allocate() {
    memory_ = std::make_unique<Workspace>(total_);
    float* next = memory_->data();
    for (auto [array, floats] : wants_) *array = std::exchange(next, next + floats);
  }

 private:
  std::vector<std::pair<float**, int64_t>> wants_;
  int64_t total_ = 0;
  std::unique_ptr<Workspace> memory_;
};

void WantInputs(MixingLossWork& work, Arrays& arrays) {
  const MixingLossShape& s = work.input.shape;
  const int64_t tokens = work.tiles * kMixingLossTile;
  arrays.Want(work.keys_BKnQt, s.batch * s.key_heads * s.head_dim * tokens);
  arrays.Want(work.b_columns_BGnNt, s.batch * s.groups * s.state_size * tokens);
  arrays.Want(work.b_rows_BGntN, s.batch * s.groups * s.state_size * tokens);
  for (float** array : {&work.dt_BHnt, &work.row_decay_BHnt, &work.column_decay_BHnt}) {
    arrays.Want(*array, s.batch * s.heads * tokens);
  }
  arrays.Want(work.tile_log_decay_BHn, s.batch * s.heads * work.tiles);
}

void WantGradients(MixingLossWork& work, Arrays& arrays) {
  const MixingLossShape& s = work.input.shape;
  const int64_t tokens = work.tiles * kMixingLossTile, bh = s.batch * s.heads;
  work.shares = SharesOf(s, work.tiles);
  arrays.Want(work.grad_b_BGRntN, s.batch * s.groups * work.shares * tokens * s.state_size);
  arrays.Want(work.diagonal_BHnt, bh * tokens);
  arrays.Want(work.grad_dt_BHnt, bh * tokens);
  arrays.Want(work.row_sum_BHnt, bh * tokens);
  arrays.Want(work.column_sum_BHRnt, bh * work.shares * tokens);
  arrays.Want(work.tile_sum_BHnn, bh * work.tiles * work.tiles);
}

void Prepare(const MixingLossWork& work, InstructionSet set, const Executor& executor) {
  const MixingLossShape& s = work.input.shape;
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

MixingLossWork WorkOf(const MixingLossInput<float>& input) {
  CheckShape(input.shape);
  MixingLossWork work;
  work.input = input;
  work.tiles = (input.shape.tokens + kMixingLossTile - 1) / kMixingLossTile;
  return work;
}

// to[i] = the sum of the i-th row of [count, tiles].
void SumTiles(const std::vector<double>& per_tile, int64_t count, int64_t tiles, float* to) {
  for (int64_t i = 0; i < count; ++i) {
    double sum = 0.0;
    for (int64_t I = 0; I < tiles; ++I) sum += per_tile[i * tiles + I];
    to[i] = static_cast<float>(sum);
  }
}

// The walk for the gradients, of the losses too if `work` has room for them. grad_d_BHn: of D, by tile.
void WalkForGradients(MixingLossWork& work, std::vector<double>& grad_d_BHn, InstructionSet set,
                      const Executor& executor) {
  const MixingLossShape& s = work.input.shape;
  Arrays arrays;
  WantInputs(work, arrays);
  WantGradients(work, arrays);
  arrays.Allocate();
  grad_d_BHn.resize(s.batch * s.heads * work.tiles);
  work.grad_d_BHn = grad_d_BHn.data();
  Prepare(work, set, executor);
  const auto gradient_share = RETORT_SIMD_CHOOSE(set, MixingLossGradientShare);
  const int64_t group_shares = s.groups * work.shares;
  executor.Run(s.batch * group_shares, [&](int64_t item) {
    gradient_share(work, item / group_shares, item / work.shares % s.groups, item % work.shares);
  });
  const auto finish_head = RETORT_SIMD_CHOOSE(set, MixingLossFinishHead);
  const auto finish_group = RETORT_SIMD_CHOOSE(set, MixingLossFinishGroup);
  const int64_t each = s.groups + s.heads;
  executor.Run(s.batch * each, [&](int64_t item) {
    const int64_t batch = item / each, index = item % each;
    index < s.groups ? finish_group(work, batch, index) : finish_head(work, batch, index - s.groups);
  });
}

}  // namespace

bool MixingLossTakesStateSize(int64_t state_size) {
  return state_size >= 16 && state_size <= 256 && state_size % 16 == 0;
}

bool MixingLossTakesHeadDim(int64_t head_dim) { return head_dim >= 1 && head_dim <= 256; }

void MixingLossForward(const MixingLossInput<float>& input, float* loss_BH, InstructionSet set,
                       const Executor& executor) {
  const MixingLossShape& s = input.shape;
  MixingLossWork work = WorkOf(input);
  Arrays arrays;
  WantInputs(work, arrays);
  arrays.Allocate();
  std::vector<double> loss_BHn(s.batch * s.heads * work.tiles);
  work.loss_BHn = loss_BHn.data();
  Prepare(work, set, executor);
  const auto sum_row = RETORT_SIMD_CHOOSE(set, MixingLossSumRow);
  const int64_t groups = s.batch * s.groups;
  executor.Run(groups * work.tiles, [&](int64_t item) {
    const int64_t bg = item % groups;  // the longest rows first
    sum_row(work, bg / s.groups, bg % s.groups, work.tiles - 1 - item / groups);
  });
  SumTiles(loss_BHn, s.batch * s.heads, work.tiles, loss_BH);
}

void MixingLossBackward(const MixingLossInput<float>& input, const float* weight_BH,
                        const MixingLossGradients<float>& gradients, InstructionSet set,
                        const Executor& executor) {
  const MixingLossShape& s = input.shape;
  MixingLossWork work = WorkOf(input);
  work.weight_BH = weight_BH;
  work.gradients = gradients;
  std::vector<double> grad_d_BHn;
  WalkForGradients(work, grad_d_BHn, set, executor);
  for (int64_t h = 0; h < s.heads && gradients.d_H != nullptr; ++h) {
    double sum = 0.0;
    for (int64_t b = 0; b < s.batch; ++b) {
      for (int64_t I = 0; I < work.tiles; ++I) sum += grad_d_BHn[(b * s.heads + h) * work.tiles + I];
    }
    gradients.d_H[h] = static_cast<float>(sum);
  }
}

void MixingLossForwardBackward(const MixingLossInput<float>& input, float* loss_BH,
                               const MixingLossGradients<float>& gradients, float* grad_d_BH,
                               InstructionSet set, const Executor& executor) {
  const MixingLossShape& s = input.shape;
  if (s.groups != s.heads) {
    std::fprintf(stderr, "MixingLossForwardBackward: %lld groups of %lld heads; each head must be a group\n",
                 static_cast<long long>(s.groups), static_cast<long long>(s.heads));
    std::abort();
  }
  const std::vector<float> ones(s.batch * s.heads, 1.0f);
  MixingLossWork work = WorkOf(input);
  work.weight_BH = ones.data();
  work.gradients = gradients;
  std::vector<double> loss_BHn(s.batch * s.heads * work.tiles), grad_d_BHn;
  work.loss_BHn = loss_BHn.data();
  WalkForGradients(work, grad_d_BHn, set, executor);
  SumTiles(loss_BHn, s.batch * s.heads, work.tiles, loss_BH);
  if (grad_d_BH != nullptr) SumTiles(grad_d_BHn, s.batch * s.heads, work.tiles, grad_d_BH);
}

}  // namespace retort
