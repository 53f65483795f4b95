#include "kernels/mixing_loss/mixing_loss_tiles.h"

#include <math.h>

#include "kernels/base/tile.h"
#include "kernels/base/workspace.h"

namespace retort::RETORT_ISA {
namespace {

constexpr int64_t kTile = kMixingLossTile;
constexpr int64_t kBlock = 16;      // a diagonal tile is computed in blocks of this many rows
constexpr float kNothing = 1e-20f;  // decay below which a tile's student counts as zero

int64_t RowsOf(const MixingLossWork& work, int64_t tile) {
  const int64_t left = work.args.shape.tokens - tile * kTile;
  return left < kTile ? left : kTile;
}

// Views of one head's share of the work, by tile.
struct Head {
  Head(const MixingLossWork& work, int64_t batch, int64_t head)
      : shape(work.args.shape),
        tiles(work.tiles),
        bh(batch * shape.heads + head),
        key_head(batch * shape.key_heads + head / (shape.heads / shape.key_heads)),
        group(batch * shape.groups + head / (shape.heads / shape.groups)),
        work(work) {}

  const float* keys(int64_t J) const {
    return work.keys_BKnQt + (key_head * tiles + J) * shape.head_dim * kTile;
  }
  const float* b_columns(int64_t J) const {
    return work.b_columns_BGnNt + (group * tiles + J) * shape.state_size * kTile;
  }
  const float* b_rows(int64_t J) const {
    return work.b_rows_BGntN + (group * tiles + J) * kTile * shape.state_size;
  }
  // Of arrays [B, H, n, t], and of outputs [B, H, T, width].
  float* tokens(float* array, int64_t tile) const { return array + (bh * tiles + tile) * kTile; }
  float* output(float* array, int64_t tile, int64_t width) const {
    return array == nullptr ? nullptr : array + (bh * shape.tokens + tile * kTile) * width;
  }

  const MixingLossShape& shape;
  int64_t tiles, bh, key_head, group;
  const MixingLossWork& work;
};

// What one item keeps at hand; row tile I, for each head at once.
struct Scratch {
  float* products;  // c_i . b_j of a tile
  float* scores;    // of a tile; then F
  float* spans;     // W of a diagonal tile
  float* c_rows;
  float* q_rows[kMixingLossHeadsAtOnce];
  float* lse[kMixingLossHeadsAtOnce];
  double log_gap[kMixingLossHeadsAtOnce];  // the decay of all tiles between the column's and the row's
};

void CopyRows(const HeadRows<float>& from, int64_t batch, int64_t token, int64_t head, int64_t rows,
              int64_t width, float* to) {
  for (int64_t i = 0; i < rows; ++i) {
    const float* source = from.Row(batch, token + i, head);
    for (int64_t n = 0; n < width; ++n) to[i * width + n] = source[n];
  }
}

// to[n, i] = from[i, n] for the rows of a tile, zero beyond them.
void TransposeRows(const HeadRows<float>& from, int64_t batch, int64_t token, int64_t head, int64_t rows,
                   int64_t width, float* to) {
  int64_t n = 0;
  if (rows == kTile) {
    n = width / kBlock * kBlock;
    Transpose(kTile, n, from.Row(batch, token, head), from.token, to, kTile);
  }
  for (; n < width; ++n) {
    for (int64_t i = 0; i < kTile; ++i)
      to[n * kTile + i] = i < rows ? from.Row(batch, token + i, head)[n] : 0.0f;
  }
}

// P = exp(s scale - lse).
inline Float Attention(Float score, Float scale, Float lse) { return Exp(score * scale - lse); }

// S of a tile without its student.
float SumOfSquaredAttention(const float* scores, const float* lse, int64_t rows, float scale) {
  Float sum = Broadcast(0.0f);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < kTile; j += kLanes) {
      const Float P = Attention(Load(scores + i * kTile + j), Broadcast(scale), Broadcast(lse[i]));
      sum = MulAdd(P, P, sum);
    }
  }
  return Sum(sum);
}

struct TileFactors {
  alignas(64) float row[kTile];     // M_ij = (c_i . b_j) row_i column_j
  alignas(64) float column[kTile];  // with dt
  const float* column_decay;        // without
};

// False if the student has died out in the tile.
bool FillFactors(const Head& head, int64_t I, int64_t J, double log_gap, TileFactors& factors) {
  const float* row_decay = head.tokens(head.work.row_decay_BHnt, I);
  const float* dt = head.tokens(head.work.dt_BHnt, J);
  factors.column_decay = head.tokens(head.work.column_decay_BHnt, J);
  const Float gap = Exp(Broadcast(static_cast<float>(log_gap)));
  Float most = Broadcast(0.0f);
  for (int64_t j = 0; j < kTile; j += kLanes) {
    const Float row = Load(row_decay + j) * gap, column = Load(factors.column_decay + j) * Load(dt + j);
    Store(factors.row + j, row);
    Store(factors.column + j, column);
    most = Max(Max(column, Broadcast(0.0f) - column), most);
  }
  return !(factors.row[0] * MaxOf(most) < kNothing);  // the first row has decayed least
}

// Loss and F of a tile below the diagonal, from scores and products.
void SweepTile(const Head& head, const TileFactors& factors, const float* products, const float* lse,
               int64_t I, int64_t J, float* scores_then_f) {
  const Float scale = Broadcast(1.0f / sqrtf(static_cast<float>(head.shape.head_dim)));
  const int64_t rows = RowsOf(head.work, I);
  float* row_sum = head.tokens(head.work.row_sum_BHnt, I);
  alignas(64) float columns[kTile] = {};
  Float loss = Broadcast(0.0f);
  float total = 0.0f;
  for (int64_t i = 0; i < rows; ++i) {
    const Float lse_i = Broadcast(lse[i]), row = Broadcast(factors.row[i]), twice = row + row;
    Float along_row = Broadcast(0.0f);
    for (int64_t j = 0; j < kTile; j += kLanes) {
      float* const score = scores_then_f + i * kTile + j;
      const Float P = Attention(Load(score), scale, lse_i);
      const Float G = Load(products + i * kTile + j), column = Load(factors.column + j);
      const Float E = G * row * column - P;
      loss = MulAdd(E, E, loss);
      const Float slope = E * twice, V = slope * G;  // F without its column factor, W likewise
      Store(score, slope * column);
      Store(columns + j, Load(columns + j) + V);
      along_row = MulAdd(V, column, along_row);
    }
    const float row_total = Sum(along_row);
    row_sum[i] += row_total;
    total += row_total;
  }
  head.work.loss_BHn[head.bh * head.tiles + I] += Sum(loss);
  head.work.tile_sum_BHnn[(head.bh * head.tiles + I) * head.tiles + J] = total;
  float* column_sum = head.tokens(head.work.column_sum_BHnt, J);
  for (int64_t j = 0; j < kTile; j += kLanes) {
    Store(column_sum + j, MulAdd(Load(columns + j), Load(factors.column_decay + j), Load(column_sum + j)));
  }
}

void TileBelowDiagonal(const Head& head, int64_t I, int64_t J, int64_t slot, Scratch& scratch,
                       bool& products_are_there) {
  const int64_t rows = RowsOf(head.work, I), N = head.shape.state_size, Q = head.shape.head_dim;
  Multiply<false>(rows, kTile, Q, {scratch.q_rows[slot], Q, 1}, head.keys(J), kTile, scratch.scores, kTile);
  TileFactors factors;
  if (!FillFactors(head, I, J, scratch.log_gap[slot], factors)) {
    const float scale = 1.0f / sqrtf(static_cast<float>(Q));
    head.work.loss_BHn[head.bh * head.tiles + I] +=
        SumOfSquaredAttention(scratch.scores, scratch.lse[slot], rows, scale);
    head.work.tile_sum_BHnn[(head.bh * head.tiles + I) * head.tiles + J] = 0.0f;
    return;
  }
  if (!products_are_there) {
    Multiply<false>(rows, kTile, N, {scratch.c_rows, N, 1}, head.b_columns(J), kTile, scratch.products,
                    kTile);
    products_are_there = true;
  }
  SweepTile(head, factors, scratch.products, scratch.lse[slot], I, J, scratch.scores);
  Multiply<true>(rows, N, kTile, {scratch.scores, kTile, 1}, head.b_rows(J), N,
                 head.output(head.work.args.grad_c_BHTN, I, N), N);
  Multiply<true>(kTile, N, rows, {scratch.scores, 1, kTile}, scratch.c_rows, N,
                 head.output(head.work.args.grad_b_BHTN, J, N), N);
}

// One row of a diagonal tile.
struct DiagonalRow {
  int64_t i;
  float l, lse, scale, d;
};

// Loss, F and W of row i of a diagonal tile; `log_decay` holds l_{j+1} + ... + l_{i-1} for j < i - 1 and
// zeros, and is moved on. Returns E_ii. Everything above the diagonal is masked last: a NaN in a later token
// must not reach this one.
float SweepDiagonalRow(const DiagonalRow& r, const float* dt, const float* products, float* log_decay,
                       float* scores_then_f, float* spans, float* columns, Float& loss) {
  alignas(64) float E_row[kTile];
  for (int64_t j = 0; j < (r.i / kBlock + 1) * kBlock; j += kLanes) {
    const int64_t upto = r.i - j;  // lanes before the diagonal
    const Float sum = Load(log_decay + j) + KeepFirst(Broadcast(r.l), upto);
    Store(log_decay + j, sum);
    const Float L = Exp(sum), G = Load(products + j), dt_j = Load(dt + j);
    const Float P = Attention(Load(scores_then_f + j), Broadcast(r.scale), Broadcast(r.lse));
    const Float at_diagonal = KeepFirst(Broadcast(r.d), upto + 1) - KeepFirst(Broadcast(r.d), upto);
    const Float E = KeepFirst(G * L * dt_j + at_diagonal - P, upto + 1);
    Store(E_row + j, E);
    loss = MulAdd(E, E, loss);
    const Float slope = (E + E) * L, V = KeepFirst(slope * G, upto + 1);
    Store(scores_then_f + j, KeepFirst(slope * dt_j, upto + 1));
    Store(columns + j, Load(columns + j) + V);
    Store(spans + j, KeepFirst(V * dt_j, upto));
  }
  return E_row[r.i];
}

// grad[t] = sum over i >= t > j of W_ij, within a diagonal tile.
void SumSpans(const float* spans, int64_t rows, float* grad) {
  alignas(64) float below[kTile] = {};  // sums of a column from row t down
  for (int64_t t = rows - 1; t >= 0; --t) {
    Float sum = Broadcast(0.0f);
    for (int64_t j = 0; j <= t; j += kLanes) {
      const Float column = Load(below + j) + Load(spans + t * kTile + j);
      Store(below + j, column);
      sum = sum + KeepFirst(column, t - j);
    }
    grad[t] = Sum(sum);
  }
}

void MultiplyDiagonal(const Head& head, int64_t I, int64_t slot, Scratch& scratch, bool with_products) {
  const int64_t rows = RowsOf(head.work, I), N = head.shape.state_size, Q = head.shape.head_dim;
  for (int64_t i = 0; i < rows; i += kBlock) {
    const int64_t height = rows - i < kBlock ? rows - i : kBlock;
    Multiply<false>(height, i + kBlock, Q, {scratch.q_rows[slot] + i * Q, Q, 1}, head.keys(I), kTile,
                    scratch.scores + i * kTile, kTile);
    if (!with_products) continue;
    Multiply<false>(height, i + kBlock, N, {scratch.c_rows + i * N, N, 1}, head.b_columns(I), kTile,
                    scratch.products + i * kTile, kTile);
  }
}

void DiagonalTile(const Head& head, int64_t batch, int64_t h, int64_t I, int64_t slot, Scratch& scratch,
                  bool with_products) {
  const MixingLossArgs<float>& args = head.work.args;
  const int64_t rows = RowsOf(head.work, I), N = head.shape.state_size;
  MultiplyDiagonal(head, I, slot, scratch, with_products);
  alignas(64) float log_decay[kTile] = {}, columns[kTile] = {};
  Float loss = Broadcast(0.0f);
  double grad_d = 0.0;
  DiagonalRow row = {0, 0.0f, 0.0f, 1.0f / sqrtf(static_cast<float>(head.shape.head_dim)),
                     args.d_H != nullptr ? args.d_H[h] : 0.0f};
  for (row.i = 0; row.i < rows; ++row.i) {
    const int64_t at = row.i * kTile;
    row.l = args.log_decay_BTH.data != nullptr ? *args.log_decay_BTH.Row(batch, I * kTile + row.i, h) : 0.0f;
    row.lse = scratch.lse[slot][row.i];
    grad_d += 2.0 * SweepDiagonalRow(row, head.tokens(head.work.dt_BHnt, I), scratch.products + at, log_decay,
                                     scratch.scores + at, scratch.spans + at, columns, loss);
  }
  head.work.loss_BHn[head.bh * head.tiles + I] = Sum(loss);
  head.work.grad_d_BHn[head.bh * head.tiles + I] = grad_d;
  if (float* grad = head.output(args.grad_dt_BHT, I, 1)) {
    for (int64_t j = 0; j < rows; ++j) grad[j] = columns[j];
  }
  if (float* grad = head.output(args.grad_log_decay_BHT, I, 1)) SumSpans(scratch.spans, rows, grad);
  // F is set only in the blocks on and below the diagonal.
  float* grad_c = head.output(args.grad_c_BHTN, I, N);
  float* grad_b = head.output(args.grad_b_BHTN, I, N);
  for (int64_t i = 0; i < rows; i += kBlock) {
    const int64_t height = rows - i < kBlock ? rows - i : kBlock;
    Multiply<false>(height, N, i + height, {scratch.scores + i * kTile, kTile, 1}, head.b_rows(I), N,
                    grad_c + i * N, N);
    Multiply<false>(height, N, rows - i, {scratch.scores + i * kTile + i, 1, kTile}, scratch.c_rows + i * N,
                    N, grad_b + i * N, N);
  }
}

void PackRow(const MixingLossWork& work, const MixingLossRange& range, int64_t I, Scratch& scratch) {
  const MixingLossArgs<float>& args = work.args;
  const int64_t rows = RowsOf(work, I), token = I * kTile;
  CopyRows(args.c_BTGN, range.batch, token, range.head_begin / (args.shape.heads / args.shape.groups), rows,
           args.shape.state_size, scratch.c_rows);
  for (int64_t h = range.head_begin; h < range.head_end; ++h) {
    const int64_t slot = h - range.head_begin;
    CopyRows(args.q_BTHQ, range.batch, token, h, rows, args.shape.head_dim, scratch.q_rows[slot]);
    CopyRows(args.lse_BTH, range.batch, token, h, rows, 1, scratch.lse[slot]);
  }
}

}  // namespace

void MixingLossPackKeys(const MixingLossWork& work, int64_t batch, int64_t key_head) {
  const MixingLossShape& s = work.args.shape;
  float* to = work.keys_BKnQt + (batch * s.key_heads + key_head) * work.tiles * s.head_dim * kTile;
  for (int64_t J = 0; J < work.tiles; ++J, to += s.head_dim * kTile) {
    TransposeRows(work.args.k_BTKQ, batch, J * kTile, key_head, RowsOf(work, J), s.head_dim, to);
  }
}

void MixingLossPackStudent(const MixingLossWork& work, int64_t batch, int64_t group) {
  const MixingLossShape& s = work.args.shape;
  const int64_t begin = (batch * s.groups + group) * work.tiles * s.state_size * kTile;
  for (int64_t J = 0; J < work.tiles; ++J) {
    const int64_t rows = RowsOf(work, J), at = begin + J * s.state_size * kTile;
    TransposeRows(work.args.b_BTGN, batch, J * kTile, group, rows, s.state_size, work.b_columns_BGnNt + at);
    float* to = work.b_rows_BGntN + at;
    CopyRows(work.args.b_BTGN, batch, J * kTile, group, rows, s.state_size, to);
    for (int64_t n = 0; n < rows * s.state_size; ++n) to[n] = to[n] - to[n] == 0.0f ? to[n] : 0.0f;
  }
}

void MixingLossPrepareHead(const MixingLossWork& work, int64_t batch, int64_t h) {
  const MixingLossArgs<float>& args = work.args;
  const Head head(work, batch, h);
  for (int64_t I = 0; I < work.tiles; ++I) {
    const int64_t rows = RowsOf(work, I), token = I * kTile;
    float *row = head.tokens(work.row_decay_BHnt, I), *column = head.tokens(work.column_decay_BHnt, I);
    float* dt = head.tokens(work.dt_BHnt, I);
    const auto log_decay = [&](int64_t i) {
      return args.log_decay_BTH.data != nullptr ? *args.log_decay_BTH.Row(batch, token + i, h) : 0.0f;
    };
    // Sums of what is <= 0, in double and within a tile: no cancellation, and -inf stays -inf.
    double sum = 0.0;
    for (int64_t i = 0; i < kTile; ++i) {
      if (i < rows) sum += log_decay(i);
      row[i] = static_cast<float>(sum);
      dt[i] = i >= rows ? 0.0f : args.dt_BTH.data != nullptr ? *args.dt_BTH.Row(batch, token + i, h) : 1.0f;
    }
    work.tile_log_decay_BHn[head.bh * work.tiles + I] = static_cast<float>(sum);
    sum = 0.0;
    for (int64_t j = kTile - 1; j >= 0; --j) {
      column[j] = static_cast<float>(sum);
      if (j < rows) sum += log_decay(j);
    }
    float *row_sum = head.tokens(work.row_sum_BHnt, I), *column_sum = head.tokens(work.column_sum_BHnt, I);
    for (int64_t i = 0; i < kTile; i += kLanes) {
      Store(row + i, Exp(Load(row + i)));
      Store(column + i, Exp(Load(column + i)));
      Store(row_sum + i, Broadcast(0.0f));
      Store(column_sum + i, Broadcast(0.0f));
    }
  }
}

void MixingLossWalk(const MixingLossWork& work, const MixingLossRange& range) {
  const MixingLossShape& s = work.args.shape;
  const int64_t heads = range.head_end - range.head_begin;
  const int64_t q_floats = kTile * s.head_dim;
  const Workspace memory(3 * kTile * kTile + kTile * s.state_size + heads * (q_floats + kTile));
  Scratch scratch;
  float* next = memory.data();
  const auto take = [&next](int64_t floats) {
    float* const taken = next;
    next += floats;
    return taken;
  };
  scratch.products = take(kTile * kTile);
  scratch.scores = take(kTile * kTile);
  scratch.spans = take(kTile * kTile);
  scratch.c_rows = take(kTile * s.state_size);
  for (int64_t slot = 0; slot < heads; ++slot) {
    scratch.lse[slot] = take(kTile);
    scratch.q_rows[slot] = take(q_floats);
  }
  for (int64_t I = range.row_begin; I < range.row_end; ++I) {
    PackRow(work, range, I, scratch);
    int64_t J = range.column_end - 1 < I ? range.column_end - 1 : I;
    for (int64_t slot = 0; slot < heads; ++slot) {
      const Head head(work, range.batch, range.head_begin + slot);
      scratch.log_gap[slot] = 0.0;
      for (int64_t K = J + 1; K < I; ++K)
        scratch.log_gap[slot] += work.tile_log_decay_BHn[head.bh * work.tiles + K];
    }
    for (; J >= range.column_begin; --J) {
      bool products_are_there = false;
      for (int64_t slot = 0; slot < heads; ++slot) {
        const Head head(work, range.batch, range.head_begin + slot);
        if (J == I) {
          DiagonalTile(head, range.batch, range.head_begin + slot, I, slot, scratch, slot == 0);
        } else {
          TileBelowDiagonal(head, I, J, slot, scratch, products_are_there);
          scratch.log_gap[slot] += work.tile_log_decay_BHn[head.bh * work.tiles + J];
        }
      }
    }
  }
}

void MixingLossFinishHead(const MixingLossWork& work, int64_t batch, int64_t h) {
  const MixingLossArgs<float>& args = work.args;
  const Head head(work, batch, h);
  double loss = 0.0, grad_d = 0.0;
  for (int64_t K = 0; K < work.tiles; ++K) {
    loss += work.loss_BHn[head.bh * work.tiles + K];
    grad_d += work.grad_d_BHn[head.bh * work.tiles + K];
    const int64_t rows = RowsOf(work, K);
    const float* column_sum = head.tokens(work.column_sum_BHnt, K);
    if (float* grad = head.output(args.grad_dt_BHT, K, 1)) {
      for (int64_t t = 0; t < rows; ++t) grad[t] += column_sum[t];
    }
    float* grad = head.output(args.grad_log_decay_BHT, K, 1);
    if (grad == nullptr) continue;
    // Pairs i >= t > j by where they lie: both tiles elsewhere, only i here, only j here, both (there
    // already).
    double elsewhere = 0.0;
    for (int64_t I = K + 1; I < work.tiles; ++I) {
      for (int64_t J = 0; J < K; ++J)
        elsewhere += work.tile_sum_BHnn[(head.bh * work.tiles + I) * work.tiles + J];
    }
    const float *row_sum = head.tokens(work.row_sum_BHnt, K), *dt = head.tokens(work.dt_BHnt, K);
    double rows_below = 0.0;
    for (int64_t t = rows - 1; t >= 0; --t) {
      rows_below += row_sum[t];
      grad[t] += static_cast<float>(elsewhere + rows_below);
    }
    double columns_before = 0.0;
    for (int64_t t = 0; t < rows; ++t) {
      grad[t] += static_cast<float>(columns_before);
      columns_before += static_cast<double>(column_sum[t]) * dt[t];
    }
  }
  args.loss_BH[head.bh] = static_cast<float>(loss);
  if (args.grad_d_BH != nullptr) args.grad_d_BH[head.bh] = static_cast<float>(grad_d);
}

}  // namespace retort::RETORT_ISA
