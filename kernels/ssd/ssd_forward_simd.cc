// The chunked scan, a few heads at a time. In a chunk of Q tokens with cs_i = l_0 + ... + l_i,
// e_i = exp(cs_i), o_i = exp(cs_{Q-1} - cs_i), L_ij = exp(cs_i - cs_j) for j <= i:
//     Y = e (C S^T) + (L G dt) X + D X,  G = C B^T;    S^T <- exp(cs_{Q-1}) S^T + (o dt B)^T X
// The state is kept transposed, [N, P], so that both products read it by rows.
#include "kernels/ssd/ssd_chunk.h"

namespace retort::RETORT_ISA {

namespace {

struct ForwardItem {
  const SsdForwardArguments<float>& arguments;
  int64_t batch;
  int64_t p, n;  // padded
  float *x_QP, *y_QP, *b_QN, *c_QN, *bt_NQ, *scores_QQ, *state_PN;

  template <class Real>
  Real* Row(const SsdArray<Real>& array, int64_t t, int64_t h) const {
    return array.data + batch * array.batch + t * array.token + h * array.head;
  }
  int64_t Group(int64_t head) const { return head / (arguments.shape.heads / arguments.shape.groups); }
  int64_t StateOffset(int64_t head) const {
    return (batch * arguments.shape.heads + head) * arguments.shape.width * arguments.shape.state;
  }

  void LoadState(int64_t head, float* state_NP) const {
    const SsdShape& shape = arguments.shape;
    for (int64_t i = 0; i < n * p; i += kLanes) Store(state_PN + i, Broadcast(0.0f));
    if (arguments.initial_state_BHPN != nullptr) {
      CopyRows(arguments.initial_state_BHPN + StateOffset(head), shape.state, shape.width, shape.state,
               state_PN, n);
    }
    Transpose(p, n, state_PN, n, state_NP, p);
  }
  void StoreState(const float* state_NP, float* to_PN) const {
    const SsdShape& shape = arguments.shape;
    Transpose(n, p, state_NP, p, state_PN, n);
    CopyRows(state_PN, n, shape.width, shape.state, to_PN, shape.state);
  }

  // The chunk from token t0 on; (next_t, next_head) is what comes after it.
  void Scan(int64_t t0, int64_t head, int64_t next_t, int64_t next_head, float* state_NP) const;
};

constexpr int64_t kRowsAtATime = 6;  // of 4 arrays, between 24 tiles where P = N = 64

void ForwardItem::Scan(int64_t t0, int64_t head, int64_t next_t, int64_t next_head, float* state_NP) const {
  const SsdShape& shape = arguments.shape;
  const int64_t count = shape.tokens - t0 < kQ ? shape.tokens - t0 : kQ;
  const int64_t group = Group(head), next_group = Group(next_head);
  const SsdArray<const float>&x = arguments.x_BTHP, &b = arguments.b_BTGN, &c = arguments.c_BTGN;
  const float* const dt = arguments.dt_BTH.data != nullptr ? Row(arguments.dt_BTH, t0, head) : nullptr;
  const ChunkDecays decays(Row(arguments.log_decay_BTH, t0, head), arguments.log_decay_BTH.token, dt,
                           arguments.dt_BTH.token, count);
  RowPrefetcher next;
  next.Add(Row(b, next_t, next_group), b.token, shape.state);
  next.Add(Row(c, next_t, next_group), c.token, shape.state);
  next.Add(Row(x, next_t, next_head), x.token, shape.width);
  next.Add(Row(arguments.y_BTHP, next_t, next_head), arguments.y_BTHP.token, shape.width);
  PackRows(Row(b, t0, group), b.token, count, shape.state, n, b_QN);
  Transpose(kQ, n, b_QN, n, bt_NQ, kQ);
  PackRows(Row(c, t0, group), c.token, count, shape.state, n, c_QN);
  LowerProduct(n, c_QN, bt_NQ, scores_QQ);
  PackRows(Row(x, t0, head), x.token, count, shape.width, p, x_QP);
  decays.ForEachLower([&](int64_t i, int64_t j, Float decay) __attribute__((always_inline)) {
    float* const score = scores_QQ + i * kQ + j;
    Store(score, decay * Load(score) * Load(decays.dt + j));
  });

  // Full chunks of full vectors go straight to where they belong.
  float* const target = Row(arguments.y_BTHP, t0, head);
  const bool direct = count == kQ && shape.width == p;
  float* const y = direct ? target : y_QP;
  const int64_t y_row = direct ? arguments.y_BTHP.token : p;
  ForEachTile(
      kQ, p, [&](auto tile, int64_t i, int64_t column) __attribute__((always_inline)) {
        next.Fetch(kRowsAtATime);
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
      Store(bt_NQ + i * kQ + j, Load(bt_NQ + i * kQ + j) * Load(decays.to_end_dt + j));
    }
  }
  ForEachTile(
      n, p, [&](auto tile, int64_t i, int64_t column) __attribute__((always_inline)) {
        next.Fetch(kRowsAtATime);
        float* const state = state_NP + i * p + column;
        tile.Load(state, p);
        tile.Scale(decays.total);
        tile.AddProduct(kQ, {bt_NQ + i * kQ, kQ, 1}, x_QP + column, p);
        tile.Store(state, p);
      });
}

}  // namespace

void SsdForwardHeads(const SsdForwardArguments<float>& arguments, int64_t batch, int64_t first_head,
                     int64_t heads, float* workspace) {
  const SsdShape& shape = arguments.shape;
  const int64_t p = PaddedTo16(shape.width), n = PaddedTo16(shape.state);
  ForwardItem item = {arguments, batch, p, n, workspace, {}, {}, {}, {}, {}, {}};
  item.y_QP = item.x_QP + kQ * p;
  item.b_QN = item.y_QP + kQ * p;
  item.c_QN = item.b_QN + kQ * n;
  item.bt_NQ = item.c_QN + kQ * n;
  item.scores_QQ = item.bt_NQ + kQ * n;
  item.state_PN = item.scores_QQ + kQ * kQ;
  float* const states = item.state_PN + n * p;  // [heads, N, P]

  for (int64_t h = 0; h < heads; ++h) item.LoadState(first_head + h, states + h * n * p);
  for (int64_t t0 = 0; t0 < shape.tokens; t0 += kQ) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t head = first_head + h;
      float* const state_NP = states + h * n * p;
      if (arguments.segment_states_BHSPN != nullptr && t0 % kSsdSegment == 0) {
        const int64_t index = (batch * shape.heads + head) * SsdSegments(shape) + t0 / kSsdSegment;
        item.StoreState(state_NP, arguments.segment_states_BHSPN + index * shape.width * shape.state);
      }
      const bool last = h == heads - 1;
      item.Scan(t0, head, last ? t0 + kQ : t0, last ? first_head : head + 1, state_NP);
    }
  }
  for (int64_t h = 0; h < heads; ++h) {
    item.StoreState(states + h * n * p, arguments.final_state_BHPN + item.StateOffset(first_head + h));
  }
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
