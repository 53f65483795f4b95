#include "kernels/mixing_loss/mixing_loss_tiles.h"

#include <math.h>

#include "kernels/base/tile.h"
#include "kernels/base/workspace.h"

namespace retort::RETORT_ISA {
namespace {

constexpr int64_t kTile = kMixingLossTile;
constexpr int64_t kBlock = 16;  // a diagonal tile is computed in blocks of this many rows
constexpr float kLog2E = 1.44269504f;
constexpr float kNothing = 1e-20f;  // decay below which a tile's student counts as zero

int64_t RowsOf(const MixingLossWork& work, int64_t tile) {
  const int64_t left = work.input.shape.tokens - tile * kTile;
  return left < kTile ? left : kTile;
}

// One head's share of the work, by tile.
struct Head {
  Head(const MixingLossWork& work, int64_t batch, int64_t head)
      : work(work),
        shape(work.input.shape),
        batch(batch),
        h(head),
        bh(batch * shape.heads + head),
        key_head(batch * shape.key_heads + head / (shape.heads / shape.key_heads)) {}

  const float* keys(int64_t J) const {
    return work.keys_BKnQt + (key_head * work.tiles + J) * shape.head_dim * kTile;
  }
  // Of arrays [B, H, n, t].
  float* tokens(float* array, int64_t tile) const { return array + (bh * work.tiles + tile) * kTile; }

  const MixingLossWork& work;
  const MixingLossShape& shape;
  int64_t batch, h, bh, key_head;
};

// What an item keeps of the row of tiles it works on, for each head of its group.
struct Row {
  Row(const MixingLossWork& work, int64_t batch, int64_t group)
      : work(work),
        batch(batch),
        heads(work.input.shape.heads / work.input.shape.groups),
        head_begin(group * heads),
        bg(batch * work.input.shape.groups + group),
        q_floats(kTile * work.input.shape.head_dim),
        memory(3 * kTile * kTile + kTile * work.input.shape.state_size + heads * (q_floats + 2 * kTile)) {
    products = memory.data();
    scores = products + kTile * kTile;
    slopes = scores + kTile * kTile;
    c_rows = slopes + kTile * kTile;
    q_rows = c_rows + kTile * work.input.shape.state_size;
    minus_lse = q_rows + heads * q_floats;
    log_gap = minus_lse + heads * kTile;
    scale = kLog2E / sqrtf(static_cast<float>(work.input.shape.head_dim));
  }

  // Turns to row I of tiles; the first column visited must be I, then I - 1 and so on.
  void TurnTo(int64_t row);
  const float* b_columns(int64_t J) const {
    return work.b_columns_BGnNt + (bg * work.tiles + J) * work.input.shape.state_size * kTile;
  }
  const float* b_rows(int64_t J) const {
    return work.b_rows_BGntN + (bg * work.tiles + J) * kTile * work.input.shape.state_size;
  }

  const MixingLossWork& work;
  int64_t batch, heads, head_begin, bg, q_floats;
  Workspace memory;
  int64_t I = 0, tokens = 0;  // tokens of the row
  float scale;
  float* products;  // c_i . b_j of a tile
  float* scores;    // q_i . k_j of a tile and head
  float* slopes;    // F of a tile, summed over heads
  float *c_rows, *q_rows;
  float* minus_lse;  // in units of log 2, as is scale
  float* log_gap;    // the decay of all tiles between the column's and the row's
};

void CopyRows(const HeadRows<float>& from, int64_t batch, int64_t token, int64_t head, int64_t rows,
              int64_t width, float* to) {
  for (int64_t i = 0; i < rows; ++i, to += width) {
    const float* source = from.Row(batch, token + i, head);
    int64_t n = 0;
    for (; n + kLanes <= width; n += kLanes) Store(to + n, Load(source + n));
    for (; n < width; ++n) to[n] = source[n];
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

// P = 2^(score scale - lse), scale and lse in units of log 2. A minimax polynomial of the fifth degree on
// [-1/2, 1/2], exact at 0: relative error below 2e-7 and what rounding leaves in the exponent. Never below
// 2^-127.
inline Float Attention(Float score, Float scale, Float minus_lse) {
  const Float x = Min(Broadcast(128.0f), Max(Broadcast(-127.0f), MulAdd(score, scale, minus_lse)));
  const Float n = Round(x), f = x - n;
  Float p = Broadcast(1.326472719e-3f);
  p = MulAdd(p, f, Broadcast(9.671512640e-3f));
  p = MulAdd(p, f, Broadcast(5.550733743e-2f));
  p = MulAdd(p, f, Broadcast(2.402224209e-1f));
  p = MulAdd(p, f, Broadcast(6.931469776e-1f));
  p = MulAdd(p, f, Broadcast(1.0f));
  return ScaleByPowerOfTwo(p, n);
}

struct TileFactors {
  alignas(64) float row[kTile];     // M_ij = (c_i . b_j) row_i column_j
  alignas(64) float column[kTile];  // with dt
  const float* column_decay;        // without
};

// False if the student has died out in the tile.
bool FillFactors(const Head& head, int64_t I, int64_t J, float log_gap, TileFactors& factors) {
  const float* row_decay = head.tokens(head.work.row_decay_BHnt, I);
  const float* dt = head.tokens(head.work.dt_BHnt, J);
  factors.column_decay = head.tokens(head.work.column_decay_BHnt, J);
  const Float gap = Exp(Broadcast(log_gap));
  Float most = Broadcast(0.0f);
  for (int64_t j = 0; j < kTile; j += kLanes) {
    const Float row = Load(row_decay + j) * gap, column = Load(factors.column_decay + j) * Load(dt + j);
    Store(factors.row + j, row);
    Store(factors.column + j, column);
    most = Max(Max(column, Broadcast(0.0f) - column), most);
  }
  return !(factors.row[0] * MaxOf(most) < kNothing);  // the first row has decayed least
}

void Row::TurnTo(int64_t row) {
  const MixingLossInput<float>& x = work.input;
  I = row;
  tokens = RowsOf(work, I);
  CopyRows(x.c_BTGN, batch, I * kTile, bg % x.shape.groups, tokens, x.shape.state_size, c_rows);
  for (int64_t slot = 0; slot < heads; ++slot) {
    CopyRows(x.q_BTHQ, batch, I * kTile, head_begin + slot, tokens, x.shape.head_dim,
             q_rows + slot * q_floats);
    for (int64_t i = 0; i < tokens; ++i) {
      minus_lse[slot * kTile + i] = -kLog2E * *x.lse_BTH.Row(batch, I * kTile + i, head_begin + slot);
    }
    log_gap[slot] = 0.0f;
  }
}

// Scores of a tile; on the diagonal only blocks that reach it.
void MultiplyScores(const Row& row, const Head& head, int64_t slot, int64_t J) {
  const int64_t Q = head.shape.head_dim;
  const float* q = row.q_rows + slot * row.q_floats;
  if (J < row.I) {
    Multiply<false>(row.tokens, kTile, Q, {q, Q, 1}, head.keys(J), kTile, row.scores, kTile);
    return;
  }
  for (int64_t i = 0; i < row.tokens; i += kBlock) {
    const int64_t height = row.tokens - i < kBlock ? row.tokens - i : kBlock;
    Multiply<false>(height, i + kBlock, Q, {q + i * Q, Q, 1}, head.keys(J), kTile, row.scores + i * kTile,
                    kTile);
  }
}

void MultiplyProducts(const Row& row, int64_t J) {
  const int64_t N = row.work.input.shape.state_size;
  if (J < row.I) {
    Multiply<false>(row.tokens, kTile, N, {row.c_rows, N, 1}, row.b_columns(J), kTile, row.products, kTile);
    return;
  }
  for (int64_t i = 0; i < row.tokens; i += kBlock) {
    const int64_t height = row.tokens - i < kBlock ? row.tokens - i : kBlock;
    Multiply<false>(height, i + kBlock, N, {row.c_rows + i * N, N, 1}, row.b_columns(J), kTile,
                    row.products + i * kTile, kTile);
  }
}

// ---- tiles below the diagonal
// -----------------------------------------------------------------------------------

// sum E^2; without the student if `products` is null.
float SumTile(const Row& row, const TileFactors& factors, const float* products, const float* minus_lse) {
  const Float scale = Broadcast(row.scale);
  Float loss = Broadcast(0.0f);
  for (int64_t i = 0; i < row.tokens; ++i) {
    const Float lse_i = Broadcast(minus_lse[i]), row_i = Broadcast(factors.row[i]);
    for (int64_t j = 0; j < kTile; j += kLanes) {
      Float E = Attention(Load(row.scores + i * kTile + j), scale, lse_i);
      if (products != nullptr)
        E = NegMulAdd(Load(products + i * kTile + j) * row_i, Load(factors.column + j), E);
      loss = MulAdd(E, E, loss);
    }
  }
  return Sum(loss);
}

// Adds F to row.slopes and W to its sums. Returns sum E^2.
float DifferentiateTile(const Row& row, const Head& head, const TileFactors& factors, const float* minus_lse,
                        int64_t J, float* column_sum) {
  const Float scale = Broadcast(row.scale);
  const float twice_weight = 2.0f * head.work.weight_BH[head.bh];
  float* row_sum = head.tokens(head.work.row_sum_BHnt, row.I);
  alignas(64) float columns[kTile] = {};
  float total = 0.0f;
  Float loss = Broadcast(0.0f);
  for (int64_t i = 0; i < row.tokens; ++i) {
    const Float lse_i = Broadcast(minus_lse[i]), row_i = Broadcast(factors.row[i]);
    const Float steepness = Broadcast(factors.row[i] * twice_weight);
    Float along_row = Broadcast(0.0f);
    for (int64_t j = 0; j < kTile; j += kLanes) {
      const int64_t at = i * kTile + j;
      const Float P = Attention(Load(row.scores + at), scale, lse_i);
      const Float G = Load(row.products + at), column = Load(factors.column + j);
      const Float E = G * row_i * column - P, slope = E * steepness, V = slope * G;  // F, W without column
      loss = MulAdd(E, E, loss);
      Store(row.slopes + at, MulAdd(slope, column, Load(row.slopes + at)));
      Store(columns + j, Load(columns + j) + V);
      along_row = MulAdd(V, column, along_row);
    }
    const float row_total = Sum(along_row);
    row_sum[i] += row_total;
    total += row_total;
  }
  head.work.tile_sum_BHnn[(head.bh * head.work.tiles + row.I) * head.work.tiles + J] = total;
  for (int64_t j = 0; j < kTile; j += kLanes) {
    Store(column_sum + j, MulAdd(Load(columns + j), Load(factors.column_decay + j), Load(column_sum + j)));
  }
  return Sum(loss);
}

// ---- tiles on the diagonal
// --------------------------------------------------------------------------------------

// One row of a diagonal tile and head.
struct DiagonalRow {
  int64_t i;
  float l, minus_lse, scale, d;
  const float *dt, *scores, *products;
  float* log_decay;  // l_{j+1} + ... + l_{i-1} for j < i - 1, else 0; is moved on
};

struct DiagonalStep {
  Float E, G, L, dt;
};

// Columns j ... of the row. E is 0 above the diagonal, where what is not masked may be NaN.
DiagonalStep StepDiagonal(const DiagonalRow& r, int64_t j) {
  const int64_t upto = r.i - j;  // lanes before the diagonal
  const Float log_decay = Load(r.log_decay + j) + KeepFirst(Broadcast(r.l), upto);
  Store(r.log_decay + j, log_decay);
  const Float L = Exp(log_decay), G = Load(r.products + j), dt = Load(r.dt + j);
  const Float P = Attention(Load(r.scores + j), Broadcast(r.scale), Broadcast(r.minus_lse));
  const Float at_diagonal = KeepFirst(Broadcast(r.d), upto + 1) - KeepFirst(Broadcast(r.d), upto);
  return {KeepFirst(G * L * dt + at_diagonal - P, upto + 1), G, L, dt};
}

// Calls visit(row, columns) for the rows of a diagonal tile; columns are whole blocks.
template <class Visit>
void ForEachDiagonalRow(const Row& row, const Head& head, int64_t slot, const Visit& visit) {
  const MixingLossInput<float>& x = head.work.input;
  alignas(64) float log_decay[kTile] = {};
  for (int64_t i = 0; i < row.tokens; ++i) {
    const int64_t t = row.I * kTile + i;
    visit(DiagonalRow{i, x.log_decay_BTH.data != nullptr ? *x.log_decay_BTH.Row(head.batch, t, head.h) : 0.0f,
                      row.minus_lse[slot * kTile + i], row.scale, x.d_H != nullptr ? x.d_H[head.h] : 0.0f,
                      head.tokens(head.work.dt_BHnt, row.I), row.scores + i * kTile, row.products + i * kTile,
                      log_decay},
          (i / kBlock + 1) * kBlock);
  }
}

float SumDiagonalTile(const Row& row, const Head& head, int64_t slot) {
  Float loss = Broadcast(0.0f);
  ForEachDiagonalRow(row, head, slot, [&](const DiagonalRow& r, int64_t columns) {
    for (int64_t j = 0; j < columns; j += kLanes) {
      const Float E = StepDiagonal(r, j).E;
      loss = MulAdd(E, E, loss);
    }
  });
  return Sum(loss);
}

// to[t] = sum over i >= t > j of W_ij, within a diagonal tile.
void SumSpans(const float* W, int64_t rows, float* to) {
  alignas(64) float below[kTile] = {};  // sums of a column from row t down
  for (int64_t t = rows - 1; t >= 0; --t) {
    Float sum = Broadcast(0.0f);
    for (int64_t j = 0; j <= t; j += kLanes) {
      const Float column = Load(below + j) + Load(W + t * kTile + j);
      Store(below + j, column);
      sum = sum + KeepFirst(column, t - j);
    }
    to[t] = Sum(sum);
  }
}

// Adds F to row.slopes, whose blocks above the diagonal stay untouched. Returns sum E^2.
float DifferentiateDiagonalTile(const Row& row, const Head& head, int64_t slot) {
  const Float steepness = Broadcast(2.0f * head.work.weight_BH[head.bh]);
  float* grad_dt = head.tokens(head.work.grad_dt_BHnt, row.I);
  for (int64_t j = 0; j < kTile; ++j) grad_dt[j] = 0.0f;
  double grad_d = 0.0;
  Float loss = Broadcast(0.0f);
  ForEachDiagonalRow(row, head, slot, [&](const DiagonalRow& r, int64_t columns) {
    alignas(64) float E_row[kTile];
    for (int64_t j = 0; j < columns; j += kLanes) {
      const DiagonalStep step = StepDiagonal(r, j);
      Store(E_row + j, step.E);
      loss = MulAdd(step.E, step.E, loss);
      const int64_t upto = r.i - j;
      const Float slope = step.E * steepness * step.L, V = KeepFirst(slope * step.G, upto + 1);
      float* const F = row.slopes + r.i * kTile + j;
      Store(F, Load(F) + KeepFirst(slope * step.dt, upto + 1));
      Store(grad_dt + j, Load(grad_dt + j) + V);
      Store(row.scores + r.i * kTile + j, KeepFirst(V * step.dt, upto));  // W, in the place of the scores
    }
    grad_d += E_row[r.i];
  });
  head.work.grad_d_BHn[head.bh * head.work.tiles + row.I] = 2.0 * head.work.weight_BH[head.bh] * grad_d;
  SumSpans(row.scores, row.tokens, head.tokens(head.work.diagonal_BHnt, row.I));
  return Sum(loss);
}

// ---- gradients of c and b from F
// --------------------------------------------------------------------------------

void AddTileGradients(const Row& row, int64_t J, float* grad_c, int64_t c_row, float* grad_b) {
  const int64_t N = row.work.input.shape.state_size;
  if (J < row.I) {
    Multiply<true>(row.tokens, N, kTile, {row.slopes, kTile, 1}, row.b_rows(J), N, grad_c, c_row);
    Multiply<true>(kTile, N, row.tokens, {row.slopes, 1, kTile}, row.c_rows, N, grad_b, N);
    return;
  }
  for (int64_t i = 0; i < row.tokens; i += kBlock) {
    const int64_t height = row.tokens - i < kBlock ? row.tokens - i : kBlock;
    Multiply<false>(height, N, i + height, {row.slopes + i * kTile, kTile, 1}, row.b_rows(J), N,
                    grad_c + i * c_row, c_row);
    Multiply<true>(height, N, row.tokens - i, {row.slopes + i * kTile + i, 1, kTile}, row.c_rows + i * N, N,
                   grad_b + i * N, N);
  }
}

void Fill(float* array, int64_t floats, float value) {
  for (int64_t i = 0; i < floats; ++i) array[i] = value;
}

// All heads of tile (I, J), J < I: F summed over heads, if any has not died out.
bool DifferentiateHeads(Row& row, int64_t J, int64_t share) {
  const MixingLossWork& work = row.work;
  bool alive = false;
  for (int64_t slot = 0; slot < row.heads; ++slot) {
    const Head head(work, row.batch, row.head_begin + slot);
    const float* minus_lse = row.minus_lse + slot * kTile;
    TileFactors factors;
    float loss = 0.0f;
    if (FillFactors(head, row.I, J, row.log_gap[slot], factors)) {
      if (!alive) {
        MultiplyProducts(row, J);
        Fill(row.slopes, kTile * kTile, 0.0f);
        alive = true;
      }
      MultiplyScores(row, head, slot, J);
      loss = DifferentiateTile(
          row, head, factors, minus_lse, J,
          work.column_sum_BHRnt + ((head.bh * work.shares + share) * work.tiles + J) * kTile);
    } else {
      work.tile_sum_BHnn[(head.bh * work.tiles + row.I) * work.tiles + J] = 0.0f;
      if (work.loss_BHn != nullptr) {
        MultiplyScores(row, head, slot, J);
        loss = SumTile(row, factors, nullptr, minus_lse);
      }
    }
    if (work.loss_BHn != nullptr) work.loss_BHn[head.bh * work.tiles + row.I] += loss;
    row.log_gap[slot] += work.tile_log_decay_BHn[head.bh * work.tiles + J];
  }
  return alive;
}

}  // namespace

void MixingLossPackKeys(const MixingLossWork& work, int64_t batch, int64_t key_head) {
  const MixingLossShape& s = work.input.shape;
  float* to = work.keys_BKnQt + (batch * s.key_heads + key_head) * work.tiles * s.head_dim * kTile;
  for (int64_t J = 0; J < work.tiles; ++J, to += s.head_dim * kTile) {
    TransposeRows(work.input.k_BTKQ, batch, J * kTile, key_head, RowsOf(work, J), s.head_dim, to);
  }
}

void MixingLossPackStudent(const MixingLossWork& work, int64_t batch, int64_t group) {
  const MixingLossShape& s = work.input.shape;
  const int64_t begin = (batch * s.groups + group) * work.tiles * s.state_size * kTile;
  for (int64_t J = 0; J < work.tiles; ++J) {
    const int64_t rows = RowsOf(work, J), at = begin + J * s.state_size * kTile;
    TransposeRows(work.input.b_BTGN, batch, J * kTile, group, rows, s.state_size, work.b_columns_BGnNt + at);
    float* to = work.b_rows_BGntN + at;
    CopyRows(work.input.b_BTGN, batch, J * kTile, group, rows, s.state_size, to);
    for (int64_t n = 0; n < rows * s.state_size; ++n) to[n] = to[n] - to[n] == 0.0f ? to[n] : 0.0f;
  }
}

void MixingLossPrepareHead(const MixingLossWork& work, int64_t batch, int64_t h) {
  const MixingLossInput<float>& x = work.input;
  const Head head(work, batch, h);
  for (int64_t I = 0; I < work.tiles; ++I) {
    const int64_t rows = RowsOf(work, I), token = I * kTile;
    float *row = head.tokens(work.row_decay_BHnt, I), *column = head.tokens(work.column_decay_BHnt, I);
    float* dt = head.tokens(work.dt_BHnt, I);
    const auto log_decay = [&](int64_t i) {
      return i < rows && x.log_decay_BTH.data != nullptr ? *x.log_decay_BTH.Row(batch, token + i, h) : 0.0f;
    };
    // Sums of what is <= 0, in double and within a tile: no cancellation, and -inf stays -inf.
    double sum = 0.0;
    for (int64_t i = 0; i < kTile; ++i) {
      sum += log_decay(i);
      row[i] = static_cast<float>(sum);
      dt[i] = i >= rows ? 0.0f : x.dt_BTH.data != nullptr ? *x.dt_BTH.Row(batch, token + i, h) : 1.0f;
    }
    work.tile_log_decay_BHn[head.bh * work.tiles + I] = static_cast<float>(sum);
    sum = 0.0;
    for (int64_t j = kTile - 1; j >= 0; --j) {
      column[j] = static_cast<float>(sum);
      sum += log_decay(j);
    }
    for (int64_t i = 0; i < kTile; i += kLanes) {
      Store(row + i, Exp(Load(row + i)));
      Store(column + i, Exp(Load(column + i)));
    }
  }
}

void MixingLossSumRow(const MixingLossWork& work, int64_t batch, int64_t group, int64_t I) {
  Row row(work, batch, group);
  row.TurnTo(I);
  for (int64_t J = I; J >= 0; --J) {
    bool products_are_there = false;
    for (int64_t slot = 0; slot < row.heads; ++slot) {
      const Head head(work, batch, row.head_begin + slot);
      double& loss = work.loss_BHn[head.bh * work.tiles + I];
      TileFactors factors;
      const bool alive = J == I || FillFactors(head, I, J, row.log_gap[slot], factors);
      if (alive && !products_are_there) MultiplyProducts(row, J);
      products_are_there |= alive;
      MultiplyScores(row, head, slot, J);
      if (J == I) {
        loss = SumDiagonalTile(row, head, slot);
        continue;
      }
      loss += SumTile(row, factors, alive ? row.products : nullptr, row.minus_lse + slot * kTile);
      row.log_gap[slot] += work.tile_log_decay_BHn[head.bh * work.tiles + J];
    }
  }
}

void MixingLossGradientShare(const MixingLossWork& work, int64_t batch, int64_t group, int64_t share) {
  const MixingLossShape& s = work.input.shape;
  const int64_t N = s.state_size, c_row = s.groups * N;
  Row row(work, batch, group);
  float* grad_b = work.grad_b_BGRntN + (row.bg * work.shares + share) * work.tiles * kTile * N;
  Fill(grad_b, work.tiles * kTile * N, 0.0f);
  for (int64_t slot = 0; slot < row.heads; ++slot) {
    const int64_t bh = batch * s.heads + row.head_begin + slot;
    Fill(work.column_sum_BHRnt + (bh * work.shares + share) * work.tiles * kTile, work.tiles * kTile, 0.0f);
  }
  // Rows are dealt to shares there and back, so that each gets as many tiles.
  for (int64_t I = 0; I < work.tiles; ++I) {
    const int64_t deal = I % (2 * work.shares);
    if ((deal < work.shares ? deal : 2 * work.shares - 1 - deal) != share) continue;
    row.TurnTo(I);
    float* grad_c = work.gradients.c_BTGN + ((batch * s.tokens + I * kTile) * s.groups + group) * N;
    MultiplyProducts(row, I);
    Fill(row.slopes, kTile * kTile, 0.0f);
    for (int64_t slot = 0; slot < row.heads; ++slot) {
      const Head head(work, batch, row.head_begin + slot);
      Fill(head.tokens(work.row_sum_BHnt, I), kTile, 0.0f);
      MultiplyScores(row, head, slot, I);
      const float loss = DifferentiateDiagonalTile(row, head, slot);
      if (work.loss_BHn != nullptr) work.loss_BHn[head.bh * work.tiles + I] = loss;
    }
    AddTileGradients(row, I, grad_c, c_row, grad_b + I * kTile * N);
    for (int64_t J = I - 1; J >= 0; --J) {
      if (DifferentiateHeads(row, J, share)) AddTileGradients(row, J, grad_c, c_row, grad_b + J * kTile * N);
    }
  }
}

void MixingLossFinishGroup(const MixingLossWork& work, int64_t batch, int64_t group) {
  const MixingLossShape& s = work.input.shape;
  const int64_t N = s.state_size, part = work.tiles * kTile * N;
  const float* from = work.grad_b_BGRntN + (batch * s.groups + group) * work.shares * part;
  for (int64_t t = 0; t < s.tokens; ++t) {
    float* to = work.gradients.b_BTGN + ((batch * s.tokens + t) * s.groups + group) * N;
    for (int64_t n = 0; n < N; n += kLanes) {
      Float sum = Load(from + t * N + n);
      for (int64_t share = 1; share < work.shares; ++share) sum = sum + Load(from + share * part + t * N + n);
      Store(to + n, sum);
    }
  }
}

void MixingLossFinishHead(const MixingLossWork& work, int64_t batch, int64_t h) {
  const MixingLossShape& s = work.input.shape;
  const Head head(work, batch, h);
  for (int64_t K = 0; K < work.tiles; ++K) {
    const int64_t rows = RowsOf(work, K), out = (batch * s.tokens + K * kTile) * s.heads + h;
    alignas(64) float later[kTile];  // ddt of rows below the tile
    for (int64_t j = 0; j < kTile; j += kLanes) {
      Float sum = Broadcast(0.0f);
      for (int64_t share = 0; share < work.shares; ++share) {
        sum = sum +
              Load(work.column_sum_BHRnt + ((head.bh * work.shares + share) * work.tiles + K) * kTile + j);
      }
      Store(later + j, sum);
    }
    if (float* grad = work.gradients.dt_BTH) {
      const float* within = head.tokens(work.grad_dt_BHnt, K);
      for (int64_t t = 0; t < rows; ++t) grad[out + t * s.heads] = within[t] + later[t];
    }
    float* grad = work.gradients.log_decay_BTH;
    if (grad == nullptr) continue;
    // Pairs i >= t > j by where they lie: both in the tile, both elsewhere, only i here, only j here. No
    // difference of sums: all terms have W's own signs.
    double elsewhere = 0.0;
    for (int64_t I = K + 1; I < work.tiles; ++I) {
      for (int64_t J = 0; J < K; ++J) {
        elsewhere += work.tile_sum_BHnn[(head.bh * work.tiles + I) * work.tiles + J];
      }
    }
    const float *within = head.tokens(work.diagonal_BHnt, K), *row_sum = head.tokens(work.row_sum_BHnt, K);
    const float* dt = head.tokens(work.dt_BHnt, K);
    double rows_below[kTile + 1];
    rows_below[rows] = elsewhere;
    for (int64_t t = rows - 1; t >= 0; --t) rows_below[t] = rows_below[t + 1] + row_sum[t];
    double columns_before = 0.0;
    for (int64_t t = 0; t < rows; ++t) {
      grad[out + t * s.heads] = static_cast<float>(within[t] + rows_below[t] + columns_before);
      columns_before += static_cast<double>(later[t]) * dt[t];
    }
  }
}

}  // namespace retort::RETORT_ISA
