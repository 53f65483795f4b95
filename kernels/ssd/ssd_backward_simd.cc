// The gradient of the chunked scan, one batch entry and head at a time: a sweep that computes the state S [P,
// N] entering each chunk again, then the chunks in reverse. With ssd_forward_simd.cc's letters, K = dY X^T,
// dG = L K, M = L G (causal) and R the gradient of the state that leaves the chunk:
//     dX = M^T dY + o (B R^T) + D dY
//     dB = dG^T C + dB',  dB' = o (X R)        dC = dG B + dC',  dC' = e (dY S)
//     dl_t = sum_{i >= t > j} dG_ij G_ij + sum_{i >= t} <c_i, dC'_i> + sum_{j < t} <b_j, dB'_j>
//            + exp(cs_{Q-1}) <S, R>
//     R <- exp(cs_{Q-1}) R + (e dY)^T C
// dl is a sum of products without differences of large sums (the shortcut <c, dC> - <b, dB> has them).
#include "kernels/ssd/ssd_chunk.h"

namespace retort::RETORT_ISA {
namespace {

struct Head {
  const SsdBackwardArguments<float>& arguments;
  int64_t batch, head, group;
  int64_t p, n;  // padded

  Head(const SsdBackwardArguments<float>& arguments, int64_t batch, int64_t head)
      : arguments(arguments),
        batch(batch),
        head(head),
        group(head / (arguments.shape.heads / arguments.shape.groups)),
        p(PaddedTo16(arguments.shape.width)),
        n(PaddedTo16(arguments.shape.state)) {}

  int64_t Count(int64_t t0) const {
    return arguments.shape.tokens - t0 < kQ ? arguments.shape.tokens - t0 : kQ;
  }
  template <class Real>
  Real* Row(const SsdArray<Real>& array, int64_t t, int64_t h) const {
    return array.data + batch * array.batch + t * array.token + h * array.head;
  }
  ChunkDecays Decays(int64_t t0) const {
    return ChunkDecays(Row(arguments.log_decay_BTH, t0, head), arguments.log_decay_BTH.token, Count(t0));
  }
  void PackX(int64_t t0, float* to) const {
    PackRows(Row(arguments.x_BTHP, t0, head), arguments.x_BTHP.token, Count(t0), arguments.shape.width, p,
             to);
  }
  void PackDy(int64_t t0, float* to) const {
    PackRows(Row(arguments.dy_BTHP, t0, head), arguments.dy_BTHP.token, Count(t0), arguments.shape.width, p,
             to);
  }
  void PackGroup(const SsdArray<const float>& array, int64_t t0, float* to) const {
    PackRows(Row(array, t0, group), array.token, Count(t0), arguments.shape.state, n, to);
  }
  // [P, N] from or to one of the arguments' states; null reads as zero.
  void LoadState(const float* states, float* state_PN) const {
    for (int64_t i = 0; i < p * n; i += kLanes) Store(state_PN + i, Broadcast(0.0f));
    if (states != nullptr) {
      const SsdShape& shape = arguments.shape;
      CopyRows(states + Offset(), shape.state, shape.width, shape.state, state_PN, n);
    }
  }
  void StoreState(const float* state_PN, float* states) const {
    const SsdShape& shape = arguments.shape;
    if (states != nullptr) CopyRows(state_PN, n, shape.width, shape.state, states + Offset(), shape.state);
  }
  int64_t Offset() const {
    return (batch * arguments.shape.heads + head) * arguments.shape.width * arguments.shape.state;
  }
};

// The state entering each chunk: states[chunks, P, N].
void ComputeStates(const Head& head, float* x_QP, float* b_QN, float* states) {
  const int64_t p = head.p, n = head.n;
  head.LoadState(head.arguments.initial_state_BHPN, states);
  for (int64_t t0 = 0; t0 + kQ < head.arguments.shape.tokens; t0 += kQ, states += p * n) {
    const ChunkDecays decays = head.Decays(t0);
    head.PackX(t0, x_QP);
    head.PackGroup(head.arguments.b_BTGN, t0, b_QN);
    ScalePackedRows(decays.to_end, p, x_QP);
    ForEachTile(
        p, n, [&](auto tile, int64_t i, int64_t column) __attribute__((always_inline)) {
          const float* const state = states + i * n + column;
          tile.Load(state, n);
          tile.Scale(decays.total);
          tile.AddProduct(kQ, {x_QP + i, 1, p}, b_QN + column, n);
          tile.Store(states + p * n + i * n + column, n);
        });
  }
}

// In: G and K, of which only the lower triangles matter. Out: M = L G, dG = L K in their places, and span[t]
// = sum_{i >= t > j} dG_ij G_ij. Rows come last to first, so when row t's turn comes `below` holds, at each
// column j < t, the sum of the rows from t on.
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
    const Float g = Load(g_QQ + i * kQ + j), dg = decay * Load(k_QQ + i * kQ + j);
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

}  // namespace

void SsdBackwardHead(const SsdBackwardArguments<float>& arguments, int64_t batch, int64_t head_index,
                     const SsdHeadGradients& gradients, float* workspace) {
  const Head head(arguments, batch, head_index);
  const SsdShape& shape = arguments.shape;
  const int64_t p = head.p, n = head.n;
  float* const x_QP = workspace;
  float* const dy_QP = x_QP + kQ * p;
  float* const xt_PQ = dy_QP + kQ * p;
  float* const b_QN = xt_PQ + kQ * p;
  float* const c_QN = b_QN + kQ * n;
  float* const bt_NQ = c_QN + kQ * n;
  float* const g_QQ = bt_NQ + kQ * n;
  float* const k_QQ = g_QQ + kQ * kQ;
  float* const out = k_QQ + kQ * kQ;  // [Q, P] or [Q, N]
  float* const r_PN = out + kQ * (p + n);
  float* const rt_NP = r_PN + p * n;
  float* const states = rt_NP + p * n;

  ComputeStates(head, x_QP, b_QN, states);
  head.LoadState(arguments.dfinal_state_BHPN, r_PN);
  float dd = 0;
  for (int64_t chunk = (shape.tokens + kQ - 1) / kQ - 1; chunk >= 0; --chunk) {
    const int64_t t0 = chunk * kQ, count = head.Count(t0);
    const float* const state_PN = states + chunk * p * n;
    const ChunkDecays decays = head.Decays(t0);
    head.PackX(t0, x_QP);
    head.PackDy(t0, dy_QP);
    head.PackGroup(arguments.b_BTGN, t0, b_QN);
    head.PackGroup(arguments.c_BTGN, t0, c_QN);
    Transpose(kQ, p, x_QP, p, xt_PQ, kQ);
    Transpose(kQ, n, b_QN, n, bt_NQ, kQ);
    Transpose(p, n, r_PN, n, rt_NP, p);

    LowerProduct(n, c_QN, bt_NQ, g_QQ);
    LowerProduct(p, dy_QP, xt_PQ, k_QQ);
    for (int64_t i = 0; i < count; ++i) dd += k_QQ[i * kQ + i];
    float span_Q[kQ], dc_dots_Q[kQ] = {}, db_dots_Q[kQ] = {};
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
            compute(tile, i, column);
            tile.Store(to + i * to_row + column, to_row);
          });
      if (!direct) CopyRows(out, padded, count, width, target, target_row);
    };
    store(
        shape.width, p, head.Row(arguments.dx_BTHP, t0, head_index),
        arguments.dx_BTHP.token, [&](auto& tile, int64_t j, int64_t column) __attribute__((always_inline)) {
          const int64_t end = j + tile.kRows;
          tile.SetZero();
          tile.AddProduct(n, {b_QN + j * n, n, 1}, rt_NP + column, p);
          tile.ScaleRows(decays.to_end + j);
          tile.AddUpperProduct({m_QQ + j * kQ + j, 1, kQ}, dy_QP + j * p + column, p);
          tile.AddProduct(kQ - end, {m_QQ + end * kQ + j, 1, kQ}, dy_QP + end * p + column, p);
          if (arguments.d_H != nullptr) {
            tile.AddScaled(arguments.d_H[head_index], dy_QP + j * p + column, p);
          }
        });
    store(
        shape.state, n, gradients.dc_TN + t0 * gradients.dc_row,
        gradients.dc_row, [&](auto& tile, int64_t i, int64_t column) __attribute__((always_inline)) {
          tile.SetZero();
          tile.AddProduct(p, {dy_QP + i * p, p, 1}, state_PN + column, n);
          tile.ScaleRows(decays.from_start + i);
          tile.AddRowDots(c_QN + i * n + column, n, dc_dots_Q + i);
          tile.AddProduct(i, {dg_QQ + i * kQ, kQ, 1}, b_QN + column, n);
          tile.AddLowerProduct({dg_QQ + i * kQ + i, kQ, 1}, b_QN + i * n + column, n);
        });
    store(
        shape.state, n, gradients.db_TN + t0 * gradients.db_row,
        gradients.db_row, [&](auto& tile, int64_t j, int64_t column) __attribute__((always_inline)) {
          const int64_t end = j + tile.kRows;
          tile.SetZero();
          tile.AddProduct(p, {x_QP + j * p, p, 1}, r_PN + column, n);
          tile.ScaleRows(decays.to_end + j);
          tile.AddRowDots(b_QN + j * n + column, n, db_dots_Q + j);
          tile.AddUpperProduct({dg_QQ + j * kQ + j, 1, kQ}, c_QN + j * n + column, n);
          tile.AddProduct(kQ - end, {dg_QQ + end * kQ + j, 1, kQ}, c_QN + end * n + column, n);
        });
    StoreLogDecayGradient(count, span_Q, dc_dots_Q, db_dots_Q, decays.total * Dot(p * n, state_PN, r_PN),
                          head.Row(arguments.dlog_decay_BTH, t0, head_index), arguments.dlog_decay_BTH.token);

    ScalePackedRows(decays.from_start, p, dy_QP);
    ForEachTile(
        p, n, [&](auto tile, int64_t i, int64_t column) __attribute__((always_inline)) {
          float* const r = r_PN + i * n + column;
          tile.Load(r, n);
          tile.Scale(decays.total);
          tile.AddProduct(kQ, {dy_QP + i, 1, p}, c_QN + column, n);
          tile.Store(r, n);
        });
  }
  head.StoreState(r_PN, arguments.dinitial_state_BHPN);
  if (gradients.dd != nullptr) *gradients.dd = dd;
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
