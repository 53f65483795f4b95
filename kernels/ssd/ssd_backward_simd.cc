// The gradient of the chunked scan, a few pieces of heads at a time, the chunks in reverse. With
// ssd_forward_simd.cc's letters, K = dY X^T, dG = L K dt, M = L G (causal) and R the gradient of the state
// that leaves the chunk:
//     dX = dt Z + D dY,  Z = M^T dY + o (B R^T),  ddt_t = <z_t, x_t>
//     dB = dG^T C + dB',  dB' = o dt (X R)     dC = dG B + dC',  dC' = e (dY S)
//     dl_t = sum_{i >= t > j} dG_ij G_ij + sum_{i >= t} <c_i, dC'_i> + sum_{j < t} <b_j, dB'_j>
//            + exp(cs_{Q-1}) <S, R>
//     R <- exp(cs_{Q-1}) R + (e dY)^T C
// dl is a sum of products without differences of large sums (the shortcut <c, dC> - <b, dB> has them). Pieces
// of one group add up dG, dB' and dC' of a chunk before they take the products of dG.
#include "kernels/ssd/ssd_chunk.h"

namespace retort::RETORT_ISA {
namespace {

constexpr int64_t kQ = kSsdChunk;
constexpr int64_t kLinesAtATime = 16;  // of 768 in 5 arrays, between 56 tiles where P = N = 64

// [N, P], N and P padded.
struct State {
  const float* data_NP;
  int64_t row;
};

struct BackwardItem {
  const SsdBackwardArguments<float>& arguments;
  const float* group_chunks;  // or null
  const SsdItemGradients& gradients;
  int64_t batch;
  int64_t n;  // padded
  bool streams_dx, streams_db_dc;
  float *x_QP = {}, *xt_PQ = {}, *dy_QP = {}, *dyt_PQ = {}, *out = {};
  float *b_QN = {}, *c_QN = {}, *bt_NQ = {}, *ct_NQ = {}, *dbt_NQ = {}, *dct_NQ = {}, *row_QN = {};
  float *m_QQ = {}, *k_QQ = {}, *state_NP = {};

  int64_t Count(int64_t t0) const {
    return arguments.shape.tokens - t0 < kQ ? arguments.shape.tokens - t0 : kQ;
  }
  int64_t Group(int64_t head) const { return head / (arguments.shape.heads / arguments.shape.groups); }
  int64_t HeadIndex(const SsdPiece& piece) const { return batch * arguments.shape.heads + piece.head; }
  template <class Real>
  Real* Row(const SsdArray<Real>& array, int64_t t, int64_t h) const {
    return array.data + batch * array.batch + t * array.token + h * array.head;
  }
  ChunkDecays<kQ> Decays(int64_t t0, int64_t head) const {
    const float* const dt = arguments.dt_BTH.data != nullptr ? Row(arguments.dt_BTH, t0, head) : nullptr;
    return ChunkDecays<kQ>(Row(arguments.log_decay_BTH, t0, head), arguments.log_decay_BTH.token, dt,
                           arguments.dt_BTH.token, Count(t0));
  }
  // Rows of a chunk of x or dy, or, by group, of b or c.
  void PackPiece(const SsdArray<const float>& array, int64_t t0, const SsdPiece& piece, float* to) const {
    PackRows(kQ, Row(array, t0, piece.head) + piece.first, array.token, Count(t0), piece.width,
             PaddedTo16(piece.width), to);
  }
  void PackGroup(const SsdArray<const float>& array, int64_t t0, int64_t head, float* to) const {
    PackRows(kQ, Row(array, t0, Group(head)), array.token, Count(t0), arguments.shape.state, n, to);
  }
  // The state that enters a chunk, rows of all columns.
  const float* KeptState(int64_t t0, const SsdPiece& piece) const {
    const SsdShape& shape = arguments.shape;
    return arguments.chunk_states_BHCNP +
           (HeadIndex(piece) * SsdChunks(shape) + t0 / kQ) * shape.state * shape.width + piece.first;
  }
  // Where the pieces of a group add up; the item's own where each head is a group.
  SsdGroupSums Sums(int64_t t0) const {
    if (gradients.group_sums == nullptr) return {dbt_NQ, dct_NQ, k_QQ};
    return SsdGroupSumsAt(arguments.shape, gradients.group_sums, t0 / kQ);
  }
  // What AddChunk touches; `first` of the pieces that share dB and dC.
  void AddChunkRows(int64_t t0, const SsdPiece& piece, bool first, RowPrefetcher& rows) const {
    const SsdShape& shape = arguments.shape;
    rows.Add(KeptState(t0, piece), shape.width, piece.width, shape.state);
    rows.Add(Row(arguments.x_BTHP, t0, piece.head) + piece.first, arguments.x_BTHP.token, piece.width, kQ);
    rows.Add(Row(arguments.dy_BTHP, t0, piece.head) + piece.first, arguments.dy_BTHP.token, piece.width, kQ);
    if (!streams_dx) {
      rows.Add(Row(arguments.dx_BTHP, t0, piece.head) + piece.first, arguments.dx_BTHP.token, piece.width,
               kQ);
    }
    if (group_chunks != nullptr) {
      if (!first) return;
      rows.AddContiguous(SsdGroupChunkAt(shape, group_chunks, batch, Group(piece.head), t0 / kQ).b_QN,
                         SsdGroupChunkFloats(shape));
      rows.AddContiguous(Sums(t0).dbt_NQ, SsdGroupSumsFloats(shape));
      return;
    }
    rows.Add(Row(arguments.b_BTGN, t0, Group(piece.head)), arguments.b_BTGN.token, shape.state, kQ);
    rows.Add(Row(arguments.c_BTGN, t0, Group(piece.head)), arguments.c_BTGN.token, shape.state, kQ);
    if (streams_db_dc) return;
    rows.Add(Row(arguments.dc_BTGN, t0, Group(piece.head)), arguments.dc_BTGN.token, shape.state, kQ);
    rows.Add(Row(arguments.db_BTGN, t0, Group(piece.head)), arguments.db_BTGN.token, shape.state, kQ);
  }
  // Of the chunk from t0 on: what was packed before, or now.
  SsdGroupChunk GroupChunk(int64_t t0, int64_t head) const;
  // The state that enters a chunk, [N, P] padded.
  State StateBefore(int64_t t0, const SsdPiece& piece) const;
  // A piece's rows of one of the arguments' states [index, P, N], and back.
  void LoadGradient(const SsdPiece& piece, const float* from, float* r_NP) const;
  void StoreGradient(const SsdPiece& piece, const float* r_NP, float* to) const;
  template <class Real>
  Real* PieceOf(const SsdPiece& piece, Real* states_BHPN) const {
    return states_BHPN + (HeadIndex(piece) * arguments.shape.width + piece.first) * arguments.shape.state;
  }

  float AddChunk(int64_t t0, const SsdPiece& piece, bool first, float* r_NP, RowPrefetcher& ahead) const;
  void FinishGroup(int64_t t0, int64_t group, const SsdGroupChunk& shared, const SsdGroupSums& sums,
                   RowPrefetcher& ahead) const;
};

SsdGroupChunk BackwardItem::GroupChunk(int64_t t0, int64_t head) const {
  if (group_chunks != nullptr) {
    return SsdGroupChunkAt(arguments.shape, group_chunks, batch, Group(head), t0 / kQ);
  }
  PackGroup(arguments.b_BTGN, t0, head, b_QN);
  PackGroup(arguments.c_BTGN, t0, head, c_QN);
  Transpose(kQ, n, b_QN, n, bt_NQ, kQ);
  Transpose(kQ, n, c_QN, n, ct_NQ, kQ);
  LowerProduct<kQ>(n, c_QN, b_QN, m_QQ);
  return {b_QN, c_QN, bt_NQ, ct_NQ, m_QQ};
}

State BackwardItem::StateBefore(int64_t t0, const SsdPiece& piece) const {
  const SsdShape& shape = arguments.shape;
  const float* const kept = KeptState(t0, piece);
  const int64_t p = PaddedTo16(piece.width);
  if (shape.state == n && piece.width == p) return {kept, shape.width};
  for (int64_t i = 0; i < n * p; i += kLanes) Store(state_NP + i, Broadcast(0.0f));
  CopyRows(kept, shape.width, shape.state, piece.width, state_NP, p);
  return {state_NP, p};
}

void BackwardItem::LoadGradient(const SsdPiece& piece, const float* from, float* r_NP) const {
  const int64_t p = PaddedTo16(piece.width), state = arguments.shape.state;
  for (int64_t i = 0; i < p * n; i += kLanes) Store(state_NP + i, Broadcast(0.0f));
  if (from != nullptr) CopyRows(from, state, piece.width, state, state_NP, n);
  Transpose(p, n, state_NP, n, r_NP, p);
}

void BackwardItem::StoreGradient(const SsdPiece& piece, const float* r_NP, float* to) const {
  const int64_t p = PaddedTo16(piece.width), state = arguments.shape.state;
  Transpose(n, p, r_NP, p, state_NP, n);
  CopyRows(state_NP, n, piece.width, state, to, state);
}

// In: G and K, of which only the lower triangles matter. Out: M = L G, dG = L K dt in K's place, and
// span[t] = sum_{i >= t > j} dG_ij G_ij. Rows come last to first, so when row t's turn comes `below` holds,
// at each column j < t, the sum of the rows from t on.
void ApplyDecays(const ChunkDecays<kQ>& decays, const float* g_QQ, float* k_QQ, float* m_QQ, float* span_Q) {
  Float below[kQ / kLanes];
  for (Float& sum : below) sum = Broadcast(0.0f);
  int64_t last_row = kQ;
  Float spanning = Broadcast(0.0f);
  decays.ForEachLower([&](int64_t i, int64_t j, Float decay) __attribute__((always_inline)) {
    if (i != last_row) {
      if (last_row < kQ) span_Q[last_row] = Sum(spanning);
      spanning = Broadcast(0.0f);
      last_row = i;
    }
    const Float g = Load(g_QQ + i * kQ + j), dg = decay * Load(k_QQ + i * kQ + j) * Load(decays.dt + j);
    Store(m_QQ + i * kQ + j, decay * g);
    Store(k_QQ + i * kQ + j, dg);
    below[j / kLanes] = MulAdd(dg, g, below[j / kLanes]);
    spanning = spanning + KeepFirst(below[j / kLanes], i - j);
  });
  span_Q[0] = 0.0f;  // no j < 0
}

// Of a multiple of 16 floats.
float SumOf(int64_t count, const float* from) {
  Float sum = Load(from);
  for (int64_t j = kLanes; j < count; j += kLanes) sum = sum + Load(from + j);
  return Sum(sum);
}

// Adds up what pieces add to; the first replaces what is there.
void AddTo(bool first, int64_t count, const float* from, float* to) {
  for (int64_t i = 0; i < count; i += kLanes) {
    Store(to + i, first ? Load(from + i) : Load(to + i) + Load(from + i));
  }
}

// out[t] = span[t] + sum_{i >= t} dc_dots[i] + sum_{j < t} db_dots[j] + carried.
void StoreLogDecayGradient(int64_t count, float* span_Q, const float* dc_dots_Q, const float* db_dots_Q,
                           float carried, float* out, int64_t out_stride) {
  float above = 0;
  for (int64_t t = kQ - 1; t >= 0; --t) span_Q[t] += above += dc_dots_Q[t];
  float before = carried;
  for (int64_t t = 0; t < count; ++t) {
    out[t * out_stride] = span_Q[t] + before;
    before += db_dots_Q[t];
  }
}

// The gradients of one chunk; moves the piece's R^T from its end to its beginning. `first` of the pieces
// whose dB and dC add up. Returns its part of dD.
float BackwardItem::AddChunk(int64_t t0, const SsdPiece& piece, bool first, float* r_NP,
                             RowPrefetcher& ahead) const {
  const int64_t head = piece.head, p = PaddedTo16(piece.width), count = Count(t0);
  const ChunkDecays<kQ> decays = Decays(t0, head);
  const SsdGroupChunk shared = GroupChunk(t0, head);
  const State state = StateBefore(t0, piece);
  PackPiece(arguments.x_BTHP, t0, piece, x_QP);
  PackPiece(arguments.dy_BTHP, t0, piece, dy_QP);
  Transpose(kQ, p, x_QP, p, xt_PQ, kQ);
  Transpose(kQ, p, dy_QP, p, dyt_PQ, kQ);
  LowerProduct<kQ>(p, dy_QP, x_QP, k_QQ);
  float dd = 0;
  for (int64_t i = 0; i < count; ++i) dd += k_QQ[i * kQ + i];
  float span_Q[kQ], dc_dots_Q[kQ] = {}, db_dots_Q[kQ] = {}, ddt_Q[kQ] = {};
  ApplyDecays(decays, shared.g_QQ, k_QQ, m_QQ, span_Q);
  const SsdGroupSums sums = Sums(t0);
  if (sums.dg_QQ != k_QQ) AddTo(first, kQ * kQ, k_QQ, sums.dg_QQ);

  // Full chunks of full vectors go straight to where they belong.
  float* const dx = Row(arguments.dx_BTHP, t0, head) + piece.first;
  const bool direct = count == kQ && piece.width == p;
  const int64_t dx_row = direct ? arguments.dx_BTHP.token : p;
  ForEachTile(
      kQ, p, [&](auto tile, int64_t j, int64_t column) __attribute__((always_inline)) {
        const int64_t end = j + tile.kRows;
        ahead.Fetch(kLinesAtATime);
        tile.SetZero();
        tile.AddProduct(n, {shared.b_QN + j * n, n, 1}, r_NP + column, p);
        tile.ScaleRows(decays.to_end + j);
        tile.AddUpperProduct({m_QQ + j * kQ + j, 1, kQ}, dy_QP + j * p + column, p);
        tile.AddProduct(kQ - end, {m_QQ + end * kQ + j, 1, kQ}, dy_QP + end * p + column, p);
        if (arguments.dt_BTH.data != nullptr) {
          tile.AddRowDots(x_QP + j * p + column, p, ddt_Q + j);
          tile.ScaleRows(decays.dt + j);
        }
        if (arguments.d_H != nullptr) {
          tile.AddScaled(arguments.d_H[head], dy_QP + j * p + column, p);
        }
        if (direct && streams_dx) {
          tile.Stream(dx + j * dx_row + column, dx_row);
        } else {
          tile.Store((direct ? dx : out) + j * dx_row + column, dx_row);
        }
      });
  if (!direct) CopyRows(out, p, count, piece.width, dx, arguments.dx_BTHP.token);
  const SsdArray<float>& ddt_BTH = piece.first == 0 ? arguments.ddt_BTH : gradients.later.ddt_BTH;
  if (ddt_BTH.data != nullptr) {
    float* const ddt = Row(ddt_BTH, t0, head);
    for (int64_t t = 0; t < count; ++t) ddt[t * ddt_BTH.token] = ddt_Q[t];
  }

  // to^T (+)= factor (states^T columns^T), the dot products with `rows` on the way.
  const auto add_transposed = [&](const float* states, int64_t states_row, const float* columns_PQ,
                                  const float* factor, const float* rows_NQ, float* dots_Q, float* to_NQ)
      __attribute__((always_inline)) {
    ForEachTile(
        n, kQ, [&](auto tile, int64_t i, int64_t column) __attribute__((always_inline)) {
          ahead.Fetch(kLinesAtATime);
          tile.SetZero();
          tile.AddProduct(p, {states + i * states_row, states_row, 1}, columns_PQ + column, kQ);
          tile.ScaleColumns(factor + column);
          tile.AddColumnDots(rows_NQ + i * kQ + column, kQ, dots_Q + column);
          if (!first) tile.AddScaled(1.0f, to_NQ + i * kQ + column, kQ);
          tile.Store(to_NQ + i * kQ + column, kQ);
        });
  };
  add_transposed(state.data_NP, state.row, dyt_PQ, decays.from_start, shared.ct_NQ, dc_dots_Q, sums.dct_NQ);
  add_transposed(r_NP, p, xt_PQ, decays.to_end_dt, shared.bt_NQ, db_dots_Q, sums.dbt_NQ);
  if (group_chunks == nullptr) FinishGroup(t0, Group(head), shared, sums, ahead);

  ScaleRows<kQ>(decays.from_start, dy_QP, p, p, dy_QP);
  float* const dots_P = out;  // of the columns of S^T and R^T
  for (int64_t j = 0; j < p; j += kLanes) Store(dots_P + j, Broadcast(0.0f));
  ForEachTile(
      n, p, [&](auto tile, int64_t i, int64_t column) __attribute__((always_inline)) {
        ahead.Fetch(kLinesAtATime);
        float* const r = r_NP + i * p + column;
        tile.Load(r, p);
        tile.AddColumnDots(state.data_NP + i * state.row + column, state.row, dots_P + column);
        tile.Scale(decays.total);
        tile.AddProduct(kQ, {shared.c_QN + i, 1, n}, dy_QP + column, p);
        tile.Store(r, p);
      });
  const SsdArray<float>& dl_BTH =
      piece.first == 0 ? arguments.dlog_decay_BTH : gradients.later.dlog_decay_BTH;
  StoreLogDecayGradient(count, span_Q, dc_dots_Q, db_dots_Q, decays.total * SumOf(p, dots_P),
                        Row(dl_BTH, t0, head), dl_BTH.token);
  return dd;
}

// dB and dC of a chunk from dB'^T, dC'^T and dG.
void BackwardItem::FinishGroup(int64_t t0, int64_t group, const SsdGroupChunk& shared,
                               const SsdGroupSums& sums, RowPrefetcher& ahead) const {
  const int64_t count = Count(t0), state = arguments.shape.state;
  const float* const dg = sums.dg_QQ;
  const auto finish = [&](const float* transposed_NQ, const SsdArray<float>& to, const auto& add)
      __attribute__((always_inline)) {
    float* const target = Row(to, t0, group);
    const bool direct = count == kQ && state == n;
    const int64_t row = direct ? to.token : n;
    Transpose(n, kQ, transposed_NQ, kQ, row_QN, n);
    ForEachTile(
        kQ, n, [&](auto tile, int64_t i, int64_t column) __attribute__((always_inline)) {
          ahead.Fetch(kLinesAtATime);
          tile.Load(row_QN + i * n + column, n);
          add(tile, i, column);
          if (direct && streams_db_dc) {
            tile.Stream(target + i * row + column, row);
          } else {
            tile.Store((direct ? target : row_QN) + i * row + column, row);
          }
        });
    if (!direct) CopyRows(row_QN, n, count, state, target, to.token);
  };
  finish(
      sums.dct_NQ,
      arguments.dc_BTGN, [&](auto& tile, int64_t i, int64_t column) __attribute__((always_inline)) {
        tile.AddProduct(i, {dg + i * kQ, kQ, 1}, shared.b_QN + column, n);
        tile.AddLowerProduct({dg + i * kQ + i, kQ, 1}, shared.b_QN + i * n + column, n);
      });
  finish(
      sums.dbt_NQ,
      arguments.db_BTGN, [&](auto& tile, int64_t j, int64_t column) __attribute__((always_inline)) {
        const int64_t end = j + tile.kRows;
        tile.AddUpperProduct({dg + j * kQ + j, 1, kQ}, shared.c_QN + j * n + column, n);
        tile.AddProduct(kQ - end, {dg + end * kQ + j, 1, kQ}, shared.c_QN + end * n + column, n);
      });
}

}  // namespace

void SsdBackwardItem(const SsdBackwardArguments<float>& arguments, const float* group_chunks,
                     const SsdItem& item, const SsdItemGradients& gradients, float* workspace) {
  const SsdShape& shape = arguments.shape;
  const int64_t p = PaddedTo16(shape.width), n = PaddedTo16(shape.state);
  const bool own_groups = group_chunks == nullptr;
  const int64_t tokens = shape.batch * shape.tokens;
  BackwardItem own = {arguments,
                      group_chunks,
                      gradients,
                      item.batch,
                      n,
                      Streams(tokens * shape.heads * shape.width, arguments.dx_BTHP),
                      own_groups && Streams(tokens * shape.groups * shape.state, arguments.db_BTGN) &&
                          Streams(tokens * shape.groups * shape.state, arguments.dc_BTGN)};
  const auto take = [&workspace](int64_t floats) {
    float* const taken = workspace;
    workspace += floats;
    return taken;
  };
  for (float** array : {&own.x_QP, &own.xt_PQ, &own.dy_QP, &own.dyt_PQ, &own.out}) *array = take(kQ * p);
  for (float** array :
       {&own.b_QN, &own.c_QN, &own.bt_NQ, &own.ct_NQ, &own.dbt_NQ, &own.dct_NQ, &own.row_QN}) {
    *array = take(kQ * n);
  }
  for (float** array : {&own.m_QQ, &own.k_QQ}) *array = take(kQ * kQ);
  own.state_NP = take(p * n);
  float* const r_INP = take(item.count * p * n);

  // Pieces of one group go through a chunk together, others one after the other through all.
  const int64_t together = group_chunks != nullptr ? item.count : 1;
  float dd[kSsdPieces] = {};
  for (int64_t i = 0; i < item.count; ++i) {
    const float* const dfinal = arguments.dfinal_state_BHPN;
    own.LoadGradient(item.pieces[i], dfinal == nullptr ? nullptr : own.PieceOf(item.pieces[i], dfinal),
                     r_INP + i * p * n);
  }
  for (int64_t t0 = (SsdChunks(shape) - 1) * kQ; t0 >= 0; t0 -= kQ) {
    for (int64_t i = 0; i < item.count; ++i) {
      const bool end = i + 1 == item.count;
      RowPrefetcher ahead;
      if (!end || t0 > 0) {
        const int64_t next = end ? 0 : i + 1;
        own.AddChunkRows(end ? t0 - kQ : t0, item.pieces[next], next % together == 0, ahead);
      }
      dd[i] += own.AddChunk(t0, item.pieces[i], i % together == 0, r_INP + i * p * n, ahead);
    }
  }
  if (own.streams_dx || own.streams_db_dc) FinishStreams();
  for (int64_t i = 0; i < item.count; ++i) {
    const SsdPiece& piece = item.pieces[i];
    gradients.dd_BH2[2 * own.HeadIndex(piece) + (piece.first != 0)] = dd[i];
    if (arguments.dinitial_state_BHPN != nullptr) {
      own.StoreGradient(piece, r_INP + i * p * n, own.PieceOf(piece, arguments.dinitial_state_BHPN));
    }
  }
}

void SsdFinishGroupChunk(const SsdBackwardArguments<float>& arguments, const float* group_chunks,
                         int64_t batch, int64_t group, int64_t chunk, const float* group_sums, int64_t items,
                         int64_t item_floats, float* workspace) {
  const SsdShape& shape = arguments.shape;
  const int64_t floats = SsdGroupSumsFloats(shape);
  const float* const from = group_sums + chunk * floats;
  for (int64_t j = 0; j < floats; j += kLanes) {
    Float sum = Load(from + j);
    for (int64_t i = 1; i < items; ++i) sum = sum + Load(from + i * item_floats + j);
    Store(workspace + j, sum);
  }
  const SsdItemGradients none = {};
  BackwardItem own = {arguments, group_chunks, none, batch, PaddedTo16(shape.state), false, false};
  own.row_QN = workspace + floats;
  RowPrefetcher nothing;
  own.FinishGroup(chunk * kQ, group, SsdGroupChunkAt(shape, group_chunks, batch, group, chunk),
                  SsdGroupSumsAt(shape, workspace, 0), nothing);
}

}  // namespace retort::RETORT_ISA
