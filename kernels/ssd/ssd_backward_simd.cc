// The gradient of the chunked scan, one batch entry and head at a time: a sweep that computes the state S [P,
// N] entering each chunk again, then the chunks in reverse. With ssd_forward_simd.cc's letters, K = dY X^T,
// dG = L K dt, M = L G (causal) and R the gradient of the state that leaves the chunk:
//     dX = dt Z + D dY,  Z = M^T dY + o (B R^T),  ddt_t = <z_t, x_t>
//     dB = dG^T C + dB',  dB' = o dt (X R)     dC = dG B + dC',  dC' = e (dY S)
//     dl_t = sum_{i >= t > j} dG_ij G_ij + sum_{i >= t} <c_i, dC'_i> + sum_{j < t} <b_j, dB'_j>
//            + exp(cs_{Q-1}) <S, R>
//     R <- exp(cs_{Q-1}) R + (e dY)^T C
// dl is a sum of products without differences of large sums (the shortcut <c, dC> - <b, dB> has them).
#include "kernels/ssd/ssd_chunk.h"

namespace retort::RETORT_ISA {
namespace {

struct BackwardItem {
  const SsdBackwardArguments<float>& arguments;
  const SsdHeadGradients& gradients;
  int64_t batch;
  int64_t p, n;        // padded
  float *x_SP, *b_SN;  // the segment's
  float *dy_QP, *xt_PQ, *c_QN, *bt_NQ, *g_QQ, *k_QQ, *out, *rt_NP;

  int64_t Count(int64_t t0) const {
    return arguments.shape.tokens - t0 < kQ ? arguments.shape.tokens - t0 : kQ;
  }
  int64_t Group(int64_t head) const { return head / (arguments.shape.heads / arguments.shape.groups); }
  template <class Real>
  Real* Row(const SsdArray<Real>& array, int64_t t, int64_t h) const {
    return array.data + batch * array.batch + t * array.token + h * array.head;
  }
  ChunkDecays Decays(int64_t t0, int64_t head) const {
    const float* const dt = arguments.dt_BTH.data != nullptr ? Row(arguments.dt_BTH, t0, head) : nullptr;
    return ChunkDecays(Row(arguments.log_decay_BTH, t0, head), arguments.log_decay_BTH.token, dt,
                       arguments.dt_BTH.token, Count(t0));
  }
  // Rows of a chunk of x or dy, or, by group, of b or c.
  void PackHead(const SsdArray<const float>& array, int64_t t0, int64_t head, float* to) const {
    PackRows(Row(array, t0, head), array.token, Count(t0), arguments.shape.width, p, to);
  }
  void PackGroup(const SsdArray<const float>& array, int64_t t0, int64_t head, float* to) const {
    PackRows(Row(array, t0, Group(head)), array.token, Count(t0), arguments.shape.state, n, to);
  }
  // What PackSegment reads of a chunk, and what AddChunk touches.
  void AddSegmentRows(int64_t t0, int64_t head, RowPrefetcher& rows) const {
    rows.Add(Row(arguments.x_BTHP, t0, head), arguments.x_BTHP.token, arguments.shape.width);
    rows.Add(Row(arguments.b_BTGN, t0, Group(head)), arguments.b_BTGN.token, arguments.shape.state);
  }
  void AddChunkRows(int64_t t0, int64_t head, RowPrefetcher& rows) const {
    rows.Add(Row(arguments.c_BTGN, t0, Group(head)), arguments.c_BTGN.token, arguments.shape.state);
    rows.Add(Row(arguments.dy_BTHP, t0, head), arguments.dy_BTHP.token, arguments.shape.width);
    rows.Add(Row(arguments.dx_BTHP, t0, head), arguments.dx_BTHP.token, arguments.shape.width);
    rows.Add(Row(gradients.dc_BTHN, t0, head), gradients.dc_BTHN.token, arguments.shape.state);
    rows.Add(Row(gradients.db_BTHN, t0, head), gradients.db_BTHN.token, arguments.shape.state);
  }
  // One of the arguments' states, [P, N].
  void LoadState(const float* from_PN, float* state_PN) const {
    for (int64_t i = 0; i < p * n; i += kLanes) Store(state_PN + i, Broadcast(0.0f));
    CopyRows(from_PN, arguments.shape.state, arguments.shape.width, arguments.shape.state, state_PN, n);
  }
  int64_t StateOffset(int64_t index) const { return index * arguments.shape.width * arguments.shape.state; }

  void PackSegment(int64_t segment, int64_t head, const ChunkDecays* chunk_decays, float* states) const;
  float AddChunk(int64_t t0, int64_t head, const ChunkDecays& decays, const float* state_PN, float* r_PN,
                 RowPrefetcher& ahead) const;
};

// Packs x and b of a segment, which AddChunk finds in the second-level cache: their rows cannot stay there
// where they lie, since a page has but a few sets for one head's columns. Computes the state that enters each
// chunk, states[chunks, P, N].
void BackwardItem::PackSegment(int64_t segment, int64_t head, const ChunkDecays* chunk_decays,
                               float* states) const {
  const SsdShape& shape = arguments.shape;
  const int64_t index = (batch * shape.heads + head) * SsdSegments(shape) + segment;
  LoadState(arguments.segment_states_BHSPN + StateOffset(index), states);
  const int64_t first = segment * kSsdSegment;
  const int64_t end = first + kSsdSegment < shape.tokens ? first + kSsdSegment : shape.tokens;
  RowPrefetcher last;
  AddChunkRows((end - 1) / kQ * kQ, head, last);
  for (int64_t t0 = first; t0 < end; t0 += kQ) {
    float *const x_QP = x_SP + (t0 - first) * p, *const b_QN = b_SN + (t0 - first) * n;
    PackHead(arguments.x_BTHP, t0, head, x_QP);
    PackGroup(arguments.b_BTGN, t0, head, b_QN);
    if (t0 + kQ >= end) break;
    const ChunkDecays& decays = chunk_decays[(t0 - first) / kQ];
    const float* const from = states + (t0 - first) / kQ * p * n;
    float* const to = states + ((t0 - first) / kQ + 1) * p * n;
    float* const decayed_x_QP = out;
    ScalePackedRows(decays.to_end_dt, p, x_QP, decayed_x_QP);
    RowPrefetcher next;
    AddSegmentRows(t0 + kQ, head, next);
    ForEachTile(
        p, n, [&](auto tile, int64_t i, int64_t column) __attribute__((always_inline)) {
          next.Fetch(4);  // of 64 rows, in 16 tiles where P = N = 64; of 160 in up to 112
          last.Fetch(2);
          tile.Load(from + i * n + column, n);
          tile.Scale(decays.total);
          tile.AddProduct(kQ, {decayed_x_QP + i, 1, p}, b_QN + column, n);
          tile.Store(to + i * n + column, n);
        });
  }
}

// In: G and K, of which only the lower triangles matter. Out: M = L G, dG = L K dt in their places, and
// span[t] = sum_{i >= t > j} dG_ij G_ij. Rows come last to first, so when row t's turn comes `below` holds,
// at each column j < t, the sum of the rows from t on.
void ApplyDecays(const ChunkDecays& decays, float* g_QQ, float* k_QQ, float* span_Q) {
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
    Store(g_QQ + i * kQ + j, decay * g);
    Store(k_QQ + i * kQ + j, dg);
    below[j / kLanes] = MulAdd(dg, g, below[j / kLanes]);
    spanning = spanning + KeepFirst(below[j / kLanes], i - j);
  });
  span_Q[0] = 0.0f;  // no j < 0
}

float Dot(int64_t count, const float* a, const float* b) {
  Float sums[4] = {Broadcast(0.0f), Broadcast(0.0f), Broadcast(0.0f), Broadcast(0.0f)};
  for (int64_t i = 0; i < count; i += 4 * kLanes) {
    for (int64_t j = 0; j < 4; ++j) {
      sums[j] = MulAdd(Load(a + i + j * kLanes), Load(b + i + j * kLanes), sums[j]);
    }
  }
  return Sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
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

// Writes the gradients of one chunk and moves R [P, N] from its end to its beginning. Returns its part of dD.
float BackwardItem::AddChunk(int64_t t0, int64_t head, const ChunkDecays& decays, const float* state_PN,
                             float* r_PN, RowPrefetcher& ahead) const {
  constexpr int64_t kRowsAtATime = 5;  // of at most 5 arrays, between 40 tiles where P = N = 64
  const SsdShape& shape = arguments.shape;
  const int64_t count = Count(t0);
  const float *const x_QP = x_SP + t0 % kSsdSegment * p, *const b_QN = b_SN + t0 % kSsdSegment * n;
  Transpose(kQ, n, b_QN, n, bt_NQ, kQ);
  PackGroup(arguments.c_BTGN, t0, head, c_QN);
  LowerProduct(n, c_QN, bt_NQ, g_QQ);
  Transpose(kQ, p, x_QP, p, xt_PQ, kQ);
  PackHead(arguments.dy_BTHP, t0, head, dy_QP);
  LowerProduct(p, dy_QP, xt_PQ, k_QQ);
  Transpose(p, n, r_PN, n, rt_NP, p);
  float dd = 0;
  for (int64_t i = 0; i < count; ++i) dd += k_QQ[i * kQ + i];
  float span_Q[kQ], dc_dots_Q[kQ] = {}, db_dots_Q[kQ] = {}, ddt_Q[kQ] = {};
  ApplyDecays(decays, g_QQ, k_QQ, span_Q);
  const float *const m_QQ = g_QQ, *const dg_QQ = k_QQ;

  // Full chunks of full vectors go straight to where they belong.
  const auto store = [&](int64_t width, int64_t padded, float* target, int64_t target_row,
                         const auto& compute) __attribute__((always_inline)) {
    const bool direct = count == kQ && width == padded;
    float* const to = direct ? target : out;
    const int64_t to_row = direct ? target_row : padded;
    ForEachTile(
        kQ, padded, [&](auto tile, int64_t i, int64_t column) __attribute__((always_inline)) {
          ahead.Fetch(kRowsAtATime);
          compute(tile, i, column);
          tile.Store(to + i * to_row + column, to_row);
        });
    if (!direct) CopyRows(out, padded, count, width, target, target_row);
  };
  store(
      shape.width, p, Row(arguments.dx_BTHP, t0, head),
      arguments.dx_BTHP.token, [&](auto& tile, int64_t j, int64_t column) __attribute__((always_inline)) {
        const int64_t end = j + tile.kRows;
        tile.SetZero();
        tile.AddProduct(n, {b_QN + j * n, n, 1}, rt_NP + column, p);
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
      });
  if (arguments.ddt_BTH.data != nullptr) {
    float* const ddt = Row(arguments.ddt_BTH, t0, head);
    for (int64_t t = 0; t < count; ++t) ddt[t * arguments.ddt_BTH.token] = ddt_Q[t];
  }
  store(
      shape.state, n, Row(gradients.dc_BTHN, t0, head),
      gradients.dc_BTHN.token, [&](auto& tile, int64_t i, int64_t column) __attribute__((always_inline)) {
        tile.SetZero();
        tile.AddProduct(p, {dy_QP + i * p, p, 1}, state_PN + column, n);
        tile.ScaleRows(decays.from_start + i);
        tile.AddRowDots(c_QN + i * n + column, n, dc_dots_Q + i);
        tile.AddProduct(i, {dg_QQ + i * kQ, kQ, 1}, b_QN + column, n);
        tile.AddLowerProduct({dg_QQ + i * kQ + i, kQ, 1}, b_QN + i * n + column, n);
      });
  store(
      shape.state, n, Row(gradients.db_BTHN, t0, head),
      gradients.db_BTHN.token, [&](auto& tile, int64_t j, int64_t column) __attribute__((always_inline)) {
        const int64_t end = j + tile.kRows;
        tile.SetZero();
        tile.AddProduct(p, {x_QP + j * p, p, 1}, r_PN + column, n);
        tile.ScaleRows(decays.to_end_dt + j);
        tile.AddRowDots(b_QN + j * n + column, n, db_dots_Q + j);
        tile.AddUpperProduct({dg_QQ + j * kQ + j, 1, kQ}, c_QN + j * n + column, n);
        tile.AddProduct(kQ - end, {dg_QQ + end * kQ + j, 1, kQ}, c_QN + end * n + column, n);
      });
  StoreLogDecayGradient(count, span_Q, dc_dots_Q, db_dots_Q, decays.total * Dot(p * n, state_PN, r_PN),
                        Row(arguments.dlog_decay_BTH, t0, head), arguments.dlog_decay_BTH.token);

  ScalePackedRows(decays.from_start, p, dy_QP, dy_QP);
  ForEachTile(
      p, n, [&](auto tile, int64_t i, int64_t column) __attribute__((always_inline)) {
        ahead.Fetch(kRowsAtATime);
        float* const r = r_PN + i * n + column;
        tile.Load(r, n);
        tile.Scale(decays.total);
        tile.AddProduct(kQ, {dy_QP + i, 1, p}, c_QN + column, n);
        tile.Store(r, n);
      });
  return dd;
}

}  // namespace

void SsdBackwardHeads(const SsdBackwardArguments<float>& arguments, int64_t batch, int64_t first_head,
                      int64_t heads, const SsdHeadGradients& gradients, float* workspace) {
  const SsdShape& shape = arguments.shape;
  const int64_t p = PaddedTo16(shape.width), n = PaddedTo16(shape.state);
  BackwardItem item = {arguments, gradients, batch, p, n, workspace, {}, {}, {}, {}, {}, {}, {}, {}, {}};
  item.b_SN = item.x_SP + kSsdSegment * p;
  item.dy_QP = item.b_SN + kSsdSegment * n;
  item.xt_PQ = item.dy_QP + kQ * p;
  item.c_QN = item.xt_PQ + kQ * p;
  item.bt_NQ = item.c_QN + kQ * n;
  item.g_QQ = item.bt_NQ + kQ * n;
  item.k_QQ = item.g_QQ + kQ * kQ;
  item.out = item.k_QQ + kQ * kQ;  // [Q, P] or [Q, N]
  item.rt_NP = item.out + kQ * (p + n);
  float* const r_HPN = item.rt_NP + p * n;
  float* const states = r_HPN + kSsdHeads * p * n;

  float dd[kSsdHeads] = {};
  for (int64_t h = 0; h < heads; ++h) {
    float* const r_PN = r_HPN + h * p * n;
    if (arguments.dfinal_state_BHPN != nullptr) {
      const int64_t index = batch * shape.heads + first_head + h;
      item.LoadState(arguments.dfinal_state_BHPN + item.StateOffset(index), r_PN);
    } else {
      for (int64_t i = 0; i < p * n; i += kLanes) Store(r_PN + i, Broadcast(0.0f));
    }
  }
  for (int64_t segment = SsdSegments(shape) - 1; segment >= 0; --segment) {
    const int64_t first = segment * kSsdSegment;
    const int64_t tokens = shape.tokens - first < kSsdSegment ? shape.tokens - first : kSsdSegment;
    for (int64_t h = 0; h < heads; ++h) {
      const bool last = h == heads - 1;
      const int64_t next_first = last ? first - kSsdSegment : first,
                    next_head = first_head + (last ? 0 : h + 1);
      const int64_t chunks = (tokens + kQ - 1) / kQ;
      ChunkDecays decays[kSsdSegment / kQ];
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        decays[chunk] = item.Decays(first + chunk * kQ, first_head + h);
      }
      item.PackSegment(segment, first_head + h, decays, states);
      for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
        RowPrefetcher ahead;
        if (chunk > 0) {
          item.AddChunkRows(first + (chunk - 1) * kQ, first_head + h, ahead);
        } else if (next_first >= 0) {
          item.AddSegmentRows(next_first, next_head, ahead);
        }
        dd[h] += item.AddChunk(first + chunk * kQ, first_head + h, decays[chunk], states + chunk * p * n,
                               r_HPN + h * p * n, ahead);
      }
    }
  }
  for (int64_t h = 0; h < heads; ++h) {
    const int64_t index = batch * shape.heads + first_head + h;
    gradients.dd_BH[index] = dd[h];
    if (arguments.dinitial_state_BHPN != nullptr) {
      CopyRows(r_HPN + h * p * n, n, shape.width, shape.state,
               arguments.dinitial_state_BHPN + item.StateOffset(index), shape.state);
    }
  }
}

void SsdSumHeads(int64_t count, int64_t terms, const float* from, int64_t stride, float* to) {
  for (int64_t j = 0; j < count; j += kLanes) {
    const int64_t here = count - j < kLanes ? count - j : kLanes;
    Float sum = LoadFirst(from + j, here);
    for (int64_t i = 1; i < terms; ++i) sum = sum + LoadFirst(from + i * stride + j, here);
    StoreFirst(to + j, sum, here);
  }
}

}  // namespace retort::RETORT_ISA
