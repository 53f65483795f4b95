// The chunked scan, one batch entry and head at a time. In a chunk of Q tokens with cs_i = l_0 + ... + l_i,
// e_i = exp(cs_i), o_i = exp(cs_{Q-1} - cs_i), L_ij = exp(cs_i - cs_j) for j <= i:
//     Y = e (C S^T) + (L G) X + D X,  G = C B^T;       S^T <- exp(cs_{Q-1}) S^T + (o B)^T X
// The state is kept transposed, [N, P], so that both products read it by rows.
#include "kernels/ssd/ssd_chunk.h"

namespace retort::RETORT_ISA {

void SsdForwardHead(const SsdForwardArguments<float>& arguments, int64_t batch, int64_t head,
                    float* workspace) {
  const SsdShape& shape = arguments.shape;
  const int64_t p = PaddedTo16(shape.width), n = PaddedTo16(shape.state);
  const int64_t group = head / (shape.heads / shape.groups);
  float* const x_QP = workspace;
  float* const y_QP = x_QP + kQ * p;
  float* const b_QN = y_QP + kQ * p;
  float* const c_QN = b_QN + kQ * n;
  float* const bt_NQ = c_QN + kQ * n;
  float* const scores_QQ = bt_NQ + kQ * n;
  float* const state_NP = scores_QQ + kQ * kQ;
  float* const state_PN = state_NP + n * p;

  for (int64_t i = 0; i < n * p; i += kLanes) Store(state_PN + i, Broadcast(0.0f));
  const int64_t state_offset = (batch * shape.heads + head) * shape.width * shape.state;
  if (arguments.initial_state_BHPN != nullptr) {
    CopyRows(arguments.initial_state_BHPN + state_offset, shape.state, shape.width, shape.state, state_PN, n);
  }
  Transpose(p, n, state_PN, n, state_NP, p);

  const auto row = [&](const auto& array, int64_t t, int64_t h) {
    return array.data + batch * array.batch + t * array.token + h * array.head;
  };
  for (int64_t t0 = 0; t0 < shape.tokens; t0 += kQ) {
    const int64_t count = shape.tokens - t0 < kQ ? shape.tokens - t0 : kQ;
    const ChunkDecays decays(row(arguments.log_decay_BTH, t0, head), arguments.log_decay_BTH.token, count);
    PackRows(row(arguments.x_BTHP, t0, head), arguments.x_BTHP.token, count, shape.width, p, x_QP);
    PackRows(row(arguments.b_BTGN, t0, group), arguments.b_BTGN.token, count, shape.state, n, b_QN);
    PackRows(row(arguments.c_BTGN, t0, group), arguments.c_BTGN.token, count, shape.state, n, c_QN);
    Transpose(kQ, n, b_QN, n, bt_NQ, kQ);

    LowerProduct(n, c_QN, bt_NQ, scores_QQ);
    decays.ForEachLower([&](int64_t i, int64_t j, Float decay) __attribute__((always_inline)) {
      float* const score = scores_QQ + i * kQ + j;
      Store(score, decay * Load(score));
    });

    // Full chunks of full vectors go straight to where they belong.
    float* const target = row(arguments.y_BTHP, t0, head);
    const bool direct = count == kQ && shape.width == p;
    float* const y = direct ? target : y_QP;
    const int64_t y_row = direct ? arguments.y_BTHP.token : p;
    ForEachTile(
        kQ, p, [&](auto tile, int64_t i, int64_t column) __attribute__((always_inline)) {
          tile.SetZero();
          tile.AddProduct(n, {c_QN + i * n, n, 1}, state_NP + column, p);
          tile.ScaleRows(decays.from_start + i);
          tile.AddProduct(i, {scores_QQ + i * kQ, kQ, 1}, x_QP + column, p);
          tile.AddLowerProduct({scores_QQ + i * kQ + i, kQ, 1}, x_QP + i * p + column, p);
          if (arguments.d_H != nullptr) tile.AddScaled(arguments.d_H[head], x_QP + i * p + column, p);
          tile.Store(y + i * y_row + column, y_row);
        });
    if (!direct) CopyRows(y_QP, p, count, shape.width, target, arguments.y_BTHP.token);

    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < kQ; j += kLanes) {
        Store(bt_NQ + i * kQ + j, Load(bt_NQ + i * kQ + j) * Load(decays.to_end + j));
      }
    }
    ForEachTile(
        n, p, [&](auto tile, int64_t i, int64_t column) __attribute__((always_inline)) {
          float* const state = state_NP + i * p + column;
          tile.Load(state, p);
          tile.Scale(decays.total);
          tile.AddProduct(kQ, {bt_NQ + i * kQ, kQ, 1}, x_QP + column, p);
          tile.Store(state, p);
        });
  }

  Transpose(n, p, state_NP, p, state_PN, n);
  CopyRows(state_PN, n, shape.width, shape.state, arguments.final_state_BHPN + state_offset, shape.state);
}

// Bound by reading and writing the state: one pass over it.
void SsdStepHead(const SsdStepArguments& arguments, int64_t batch, int64_t head) {
  const SsdShape& shape = arguments.shape;
  const int64_t n = shape.state, group = head / (shape.heads / shape.groups);
  const auto row = [&](const auto& array, int64_t h) {
    return array.data + batch * array.batch + h * array.head;
  };
  const float *const x_P = row(arguments.x_BHP, head), *const b_N = row(arguments.b_BGN, group),
                     *const c_N = row(arguments.c_BGN, group);
  const float log_decay = *row(arguments.log_decay_BH, head);
  float* const y_P = row(arguments.y_BHP, head);
  float* state_N = arguments.state_BHPN + (batch * shape.heads + head) * shape.width * n;
  const float d = arguments.d_H != nullptr ? arguments.d_H[head] : 0.0f;
  float decays[kLanes];
  Store(decays, Exp(Broadcast(log_decay)));
  const Float decay = Broadcast(decays[0]);
  for (int64_t p = 0; p < shape.width; ++p, state_N += n) {
    const Float x = Broadcast(x_P[p]);
    Float y = Broadcast(0.0f);
    int64_t j = 0;
    for (; j + kLanes <= n; j += kLanes) {
      const Float s = MulAdd(x, Load(b_N + j), decay * Load(state_N + j));
      Store(state_N + j, s);
      y = MulAdd(s, Load(c_N + j), y);
    }
    if (j < n) {
      const Float s = MulAdd(x, LoadFirst(b_N + j, n - j), decay * LoadFirst(state_N + j, n - j));
      StoreFirst(state_N + j, s, n - j);
      y = MulAdd(s, LoadFirst(c_N + j, n - j), y);
    }
    y_P[p] = arguments.d_H != nullptr ? Sum(y) + d * x_P[p] : Sum(y);
  }
}

}  // namespace retort::RETORT_ISA
