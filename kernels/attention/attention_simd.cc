#include "kernels/attention/attention_simd.h"

#include <math.h>

#include "kernels/base/tile.h"

namespace retort::RETORT_ISA {
namespace {

constexpr int64_t kKeys = kAttentionKeys;
constexpr int64_t kBlock = 16;  // keys after the last query of so many are left out

const float* Row(const AttentionRows& rows, int64_t batch, int64_t token, int64_t head) {
  return rows.data + batch * rows.batch_stride + token * rows.token_stride + head * rows.head_stride;
}

// scores[i, j] = q_i . k_j of `count` queries, for all j that any query of i's block sees. Tiles outside, so
// that the first-level cache holds one while all queries use it.
void MultiplyScores(const AttentionArgs& args, const float* q, int64_t first, int64_t count,
                    const float* keys, float* scores, int64_t score_row) {
  const int64_t width = args.shape.width, q_row = args.q.token_stride;
  for (int64_t j = 0; j < first + count; j += kKeys) {
    const float* const tile = keys + j * width;
    const int64_t whole = j + kKeys <= first ? count : 0;  // queries that see all of it
    Multiply<false>(whole, kKeys, width, {q, q_row, 1}, tile, kKeys, scores + j, score_row);
    for (int64_t i = whole; i < count; i += kBlock) {
      const int64_t seen = first + i + kBlock - j, height = count - i < kBlock ? count - i : kBlock;
      Multiply<false>(height, seen < kKeys ? seen : kKeys, width, {q + i * q_row, q_row, 1}, tile, kKeys,
                      scores + i * score_row + j, score_row);
    }
  }
}

// Scores of the keys that a query sees become exp(s - the largest); returns the log-sum-exp, and the inverse
// of their sum.
float Exponentials(float* scores, int64_t seen, float scale, float* inverse_sum) {
  float most = scores[0];
  int64_t j = 0;
  Float largest = Broadcast(most);
  for (; j + kLanes <= seen; j += kLanes) largest = Max(largest, Load(scores + j));
  for (; j < seen; ++j) most = scores[j] > most ? scores[j] : most;
  const float of_lanes = MaxOf(largest);
  most = of_lanes > most ? of_lanes : most;

  const Float factor = Broadcast(scale), offset = Broadcast(-most * scale);
  Float sum = Broadcast(0.0f);
  for (j = 0; j < seen; j += kLanes) {
    const Float e = KeepFirst(Exp(MulAdd(Load(scores + j), factor, offset)), seen - j);
    Store(scores + j, e);
    sum = sum + e;
  }
  const float total = Sum(sum);
  *inverse_sum = 1.0f / total;
  return most * scale + logf(total);
}

}  // namespace

void AttentionPackKeys(const AttentionArgs& args, int64_t batch, int64_t key_head, int64_t tile, float* to) {
  const int64_t first = tile * kKeys, width = args.shape.width;
  if (first + kKeys <= args.shape.tokens) {
    Transpose(kKeys, width, Row(args.k, batch, first, key_head), args.k.token_stride, to, kKeys);
    return;
  }
  for (int64_t j = 0; j < kKeys; ++j) {
    const bool there = first + j < args.shape.tokens;
    const float* const k = there ? Row(args.k, batch, first + j, key_head) : nullptr;
    for (int64_t d = 0; d < width; ++d) to[d * kKeys + j] = there ? k[d] : 0.0f;
  }
}

void AttentionQueries(const AttentionArgs& args, int64_t batch, int64_t head, int64_t first,
                      const float* keys, float* workspace) {
  const AttentionKernelShape& shape = args.shape;
  const int64_t left = shape.tokens - first, count = left < kAttentionQueries ? left : kAttentionQueries;
  const int64_t score_row = AttentionTiles(shape.tokens) * kKeys, width = shape.width;
  const int64_t y_row = shape.heads * width, v_row = args.v.token_stride;
  const float scale = 1.0f / sqrtf(static_cast<float>(width));
  float *const scores = workspace, *const sums = workspace + kAttentionQueries * score_row;
  MultiplyScores(args, Row(args.q, batch, first, head), first, count, keys, scores, score_row);

  float inverse_sums[kAttentionQueries];
  float* const lse = args.lse_BHT + (batch * shape.heads + head) * shape.tokens + first;
  for (int64_t i = 0; i < count; ++i) {
    lse[i] = Exponentials(scores + i * score_row, first + i + 1, scale, inverse_sums + i);
  }

  const float* const v = Row(args.v, batch, 0, head / (shape.heads / shape.key_heads));
  for (int64_t j = 0; j < first; j += kKeys) {
    const int64_t tokens = first - j < kKeys ? first - j : kKeys;
    const Operand left_operand = {scores + j, score_row, 1};
    if (j == 0) {
      Multiply<false>(count, width, tokens, left_operand, v, v_row, sums, width);
    } else {
      Multiply<true>(count, width, tokens, left_operand, v + j * v_row, v_row, sums, width);
    }
  }
  float* const y = args.y_BTHD + ((batch * shape.tokens + first) * shape.heads + head) * width;
  const float *const own_v = v + first * v_row, *const own = scores + first;
  ForEachTile(
      count, width, [&](auto tile, int64_t i, int64_t column) __attribute__((always_inline)) {
        tile.SetZero();
        if (first > 0) tile.Load(sums + i * width + column, width);
        tile.AddProduct(i, {own + i * score_row, score_row, 1}, own_v + column, v_row);
        tile.AddLowerProduct({own + i * score_row + i, score_row, 1}, own_v + i * v_row + column, v_row);
        tile.ScaleRows(inverse_sums + i);
        tile.Store(y + i * y_row + column, y_row);
      });
}

}  // namespace retort::RETORT_ISA
