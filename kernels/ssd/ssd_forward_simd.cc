// The chunked scan, a few pieces of heads at a time. In a chunk of Q tokens with cs_i = l_0 + ... + l_i,
// e_i = exp(cs_i), o_i = exp(cs_{Q-1} - cs_i), L_ij = exp(cs_i - cs_j) for j <= i:
//     Y = e (C S^T) + (L G dt) X + D X,  G = C B^T;    S^T <- exp(cs_{Q-1}) S^T + B^T (o dt X)
// The state is kept transposed, [N, P], so that both products read it by rows.
#include "kernels/ssd/ssd_chunk.h"

namespace retort::RETORT_ISA {

namespace {

// [N, P], N and P padded; perhaps the same before and after a chunk.
struct State {
  float* data_NP;
  int64_t row;
};

// Of a chunk: rows of c and of b transposed.
struct Group {
  Operand c_QN, bt_NQ;
};

// In chunks of kQ tokens: kSsdChunk, or a half of it.
template <int64_t kQ>
struct ForwardItem {
  const SsdForwardArguments<float>& arguments;
  const float* group_chunks;  // or null
  int64_t batch;
  int64_t n;  // padded
  bool streams;
  float *x_QP = {}, *y_QP = {}, *b_QN = {}, *c_QN = {}, *scores_QQ = {}, *state_PN = {};

  template <class Real>
  Real* Row(const SsdArray<Real>& array, int64_t t, int64_t h) const {
    return array.data + batch * array.batch + t * array.token + h * array.head;
  }
  int64_t Count(int64_t t0) const {
    return arguments.shape.tokens - t0 < kQ ? arguments.shape.tokens - t0 : kQ;
  }
  int64_t GroupOf(int64_t head) const { return head / (arguments.shape.heads / arguments.shape.groups); }
  // Of a piece's rows in states [index, P, N].
  int64_t StateOffset(int64_t index, const SsdPiece& piece) const {
    return (index * arguments.shape.width + piece.first) * arguments.shape.state;
  }
  int64_t HeadIndex(const SsdPiece& piece) const { return batch * arguments.shape.heads + piece.head; }

  void LoadState(const SsdPiece& piece, float* state_NP) const {
    const int64_t p = PaddedTo16(piece.width), state = arguments.shape.state;
    for (int64_t i = 0; i < n * p; i += kLanes) Store(state_PN + i, Broadcast(0.0f));
    if (arguments.initial_state_BHPN != nullptr) {
      CopyRows(arguments.initial_state_BHPN + StateOffset(HeadIndex(piece), piece), state, piece.width, state,
               state_PN, n);
    }
    Transpose(p, n, state_PN, n, state_NP, p);
  }
  void StoreState(const SsdPiece& piece, const float* state_NP, float* to_PN) const {
    const int64_t p = PaddedTo16(piece.width), state = arguments.shape.state;
    Transpose(n, p, state_NP, p, state_PN, n);
    CopyRows(state_PN, n, piece.width, state, to_PN, state);
  }

  ChunkDecays<kQ> Decays(int64_t t0, int64_t head) const {
    const float* const dt = arguments.dt_BTH.data != nullptr ? Row(arguments.dt_BTH, t0, head) : nullptr;
    return ChunkDecays<kQ>(Row(arguments.log_decay_BTH, t0, head), arguments.log_decay_BTH.token, dt,
                           arguments.dt_BTH.token, Count(t0));
  }
  // The scores L G dt of the chunk from t0 on, up to the diagonal, into scores_QQ.
  Group MakeScores(int64_t t0, int64_t head, const ChunkDecays<kQ>& decays) const;
  // Where P = N = 64, of 192 in 3 arrays or, states being kept, of 448 in 4, between 20 tiles.
  int64_t LinesAtATime() const { return arguments.chunk_states_BHCNP == nullptr ? 16 : 24; }
  // Where the state that enters a chunk of kSsdChunk is kept; rows of all columns.
  float* Kept(int64_t chunk, const SsdPiece& piece) const {
    const SsdShape& shape = arguments.shape;
    return arguments.chunk_states_BHCNP +
           (HeadIndex(piece) * SsdChunks(shape) + chunk) * shape.state * shape.width + piece.first;
  }
  // What Scan reads and writes from t0 on; `first` of the item's pieces to come there.
  void AddRows(int64_t t0, const SsdPiece& piece, bool first, RowPrefetcher& rows) const;
  // The chunk from token t0 on; returns as Run.
  bool Scan(int64_t t0, const SsdPiece& piece, State from, State to, RowPrefetcher& next) const;
  // Whether no log-decay is above 0.
  bool Run(const SsdItem& item, float* states_INP) const;
};

template <int64_t kQ>
Group ForwardItem<kQ>::MakeScores(int64_t t0, int64_t head, const ChunkDecays<kQ>& decays) const {
  const SsdShape& shape = arguments.shape;
  const int64_t group = GroupOf(head), count = Count(t0);
  if (group_chunks != nullptr) {
    const SsdGroupChunk chunk = SsdGroupChunkAt(shape, group_chunks, batch, group, t0 / kSsdChunk);
    const int64_t first = t0 % kSsdChunk;
    const float* const g = chunk.g_QQ + first * kSsdChunk + first;
    decays.ForEachLower([&](int64_t i, int64_t j, Float decay) __attribute__((always_inline)) {
      Store(scores_QQ + i * kQ + j, decay * Load(g + i * kSsdChunk + j) * Load(decays.dt + j));
    });
    return {{chunk.c_QN + first * n, n, 1}, {chunk.bt_NQ + first, kSsdChunk, 1}};
  }
  const SsdArray<const float>&b = arguments.b_BTGN, &c = arguments.c_BTGN;
  PackRows(kQ, Row(b, t0, group), b.token, count, shape.state, n, b_QN);
  Operand rows = {Row(c, t0, group), c.token, 1};
  if (count < kQ || shape.state < n) {
    PackRows(kQ, rows.data, c.token, count, shape.state, n, c_QN);
    rows = {c_QN, n, 1};
  }
  ForEachLowerDot<kQ>(
      n, rows.data, rows.row, b_QN, n, [&](int64_t i, int64_t j, Float g) __attribute__((always_inline)) {
        StoreFours(scores_QQ + i * kQ + j, kQ, g * (decays.LowerBlock(i, j) * RepeatFour(decays.dt + j)));
      });
  return {rows, {b_QN, 1, n}};
}

template <int64_t kQ>
void ForwardItem<kQ>::AddRows(int64_t t0, const SsdPiece& piece, bool first, RowPrefetcher& rows) const {
  const SsdShape& shape = arguments.shape;
  const int64_t end = t0 + kSsdChunk;
  if (arguments.chunk_states_BHCNP != nullptr && t0 % kSsdChunk == 0 && end < shape.tokens) {
    rows.Add(Kept(end / kSsdChunk, piece), shape.width, piece.width, shape.state);
  }
  if (group_chunks != nullptr && first) {
    const SsdGroupChunk group =
        SsdGroupChunkAt(shape, group_chunks, batch, GroupOf(piece.head), t0 / kSsdChunk);
    rows.Add(group.c_QN, n, n, kSsdChunk);
    rows.Add(group.bt_NQ, kSsdChunk, kSsdChunk, n);
    rows.Add(group.g_QQ, kSsdChunk, kSsdChunk, kSsdChunk);
  }
  const SsdArray<const float>&x = arguments.x_BTHP, &b = arguments.b_BTGN, &c = arguments.c_BTGN;
  if (group_chunks == nullptr) {
    rows.Add(Row(b, t0, GroupOf(piece.head)), b.token, shape.state, kQ);
    rows.Add(Row(c, t0, GroupOf(piece.head)), c.token, shape.state, kQ);
  }
  rows.Add(Row(x, t0, piece.head) + piece.first, x.token, piece.width, kQ);
  if (!streams) {
    rows.Add(Row(arguments.y_BTHP, t0, piece.head) + piece.first, arguments.y_BTHP.token, piece.width, kQ);
  }
}

template <int64_t kQ>
bool ForwardItem<kQ>::Scan(int64_t t0, const SsdPiece& piece, State from, State to,
                           RowPrefetcher& next) const {
  const int64_t head = piece.head, p = PaddedTo16(piece.width), count = Count(t0);
  const ChunkDecays<kQ> decays = Decays(t0, head);
  const Group group = MakeScores(t0, head, decays);
  const bool direct = count == kQ && piece.width == p;
  const float* x = Row(arguments.x_BTHP, t0, head) + piece.first;
  int64_t x_row = arguments.x_BTHP.token;
  if (!direct) {
    PackRows(kQ, x, x_row, count, piece.width, p, x_QP);
    x = x_QP;
    x_row = p;
  }

  // Full chunks of full vectors go straight to where they belong.
  float* const target = Row(arguments.y_BTHP, t0, head) + piece.first;
  float* const y = direct ? target : y_QP;
  const int64_t y_row = direct ? arguments.y_BTHP.token : p;
  ForEachTile(
      kQ, p, [&](auto tile, int64_t i, int64_t column) __attribute__((always_inline)) {
        next.Fetch(LinesAtATime());
        tile.SetZero();
        tile.AddProduct(n, {group.c_QN.data + i * group.c_QN.row, group.c_QN.row, 1}, from.data_NP + column,
                        from.row);
        tile.ScaleRows(decays.from_start + i);
        tile.AddProduct(i, {scores_QQ + i * kQ, kQ, 1}, x + column, x_row);
        tile.AddLowerProduct({scores_QQ + i * kQ + i, kQ, 1}, x + i * x_row + column, x_row);
        if (arguments.d_H != nullptr) tile.AddScaled(arguments.d_H[head], x + i * x_row + column, x_row);
        if (direct && streams) {
          tile.Stream(y + i * y_row + column, y_row);
        } else {
          tile.Store(y + i * y_row + column, y_row);
        }
      });
  if (!direct) CopyRows(y_QP, p, count, piece.width, target, arguments.y_BTHP.token);

  ScaleRows<kQ>(decays.to_end_dt, x, x_row, p, x_QP);
  ForEachTile(
      n, p, [&](auto tile, int64_t i, int64_t column) __attribute__((always_inline)) {
        next.Fetch(LinesAtATime());
        tile.Load(from.data_NP + i * from.row + column, from.row);
        tile.Scale(decays.total);
        const auto& [bt, bt_row, bt_column] = group.bt_NQ;
        tile.AddProduct(kQ, {bt + i * bt_row, bt_row, bt_column}, x_QP + column, p);
        tile.Store(to.data_NP + i * to.row + column, to.row);
      });
  return decays.valid;
}

template <int64_t kQ>
bool ForwardItem<kQ>::Run(const SsdItem& item, float* states_INP) const {
  const SsdShape& shape = arguments.shape;
  const int64_t state_floats = PaddedTo16(shape.width) * n;
  bool valid = true;
  for (int64_t i = 0; i < item.count; ++i) LoadState(item.pieces[i], states_INP + i * state_floats);
  for (int64_t t0 = 0; t0 < shape.tokens; t0 += kSsdChunk) {
    const int64_t end = t0 + kSsdChunk;
    for (int64_t i = 0; i < item.count; ++i) {
      const SsdPiece& piece = item.pieces[i];
      const State local = {states_INP + i * state_floats, PaddedTo16(piece.width)};
      State from = local, to = local;
      if (arguments.chunk_states_BHCNP != nullptr) {
        const bool direct = shape.state == n && piece.width == local.row;
        float* const kept = Kept(t0 / kSsdChunk, piece);
        if (!direct || t0 == 0) {
          CopyRows(local.data_NP, local.row, shape.state, piece.width, kept, shape.width);
        }
        if (direct) from = {kept, shape.width};
        if (direct && end < shape.tokens) to = {Kept(end / kSsdChunk, piece), shape.width};
      }
      const bool last = i == item.count - 1;
      for (int64_t t = t0; t < end && t < shape.tokens; t += kQ) {
        RowPrefetcher next;
        if (t + kQ < end && t + kQ < shape.tokens) {
          AddRows(t + kQ, piece, false, next);
        } else if (!last || end < shape.tokens) {
          AddRows(last ? end : t0, item.pieces[last ? 0 : i + 1], last, next);
        }
        valid = Scan(t, piece, t == t0 ? from : to, to, next) && valid;
      }
    }
  }
  if (streams) FinishStreams();
  for (int64_t i = 0; i < item.count; ++i) {
    const SsdPiece& piece = item.pieces[i];
    StoreState(piece, states_INP + i * state_floats,
               arguments.final_state_BHPN + StateOffset(HeadIndex(piece), piece));
  }
  return valid;
}

template <int64_t kQ>
bool RunForward(const SsdForwardArguments<float>& arguments, const float* group_chunks, const SsdItem& item,
                float* workspace) {
  const int64_t p = PaddedTo16(arguments.shape.width), n = PaddedTo16(arguments.shape.state);
  const SsdShape& shape = arguments.shape;
  const bool streams = Streams(shape.batch * shape.tokens * shape.heads * shape.width, arguments.y_BTHP);
  ForwardItem<kQ> own = {arguments, group_chunks, item.batch, n, streams};
  const auto take = [&workspace](int64_t floats) {
    float* const taken = workspace;
    workspace += floats;
    return taken;
  };
  for (float** array : {&own.x_QP, &own.y_QP}) *array = take(kQ * p);
  for (float** array : {&own.b_QN, &own.c_QN}) *array = take(kQ * n);
  own.scores_QQ = take(kQ * kQ);
  own.state_PN = take(n * p);
  return own.Run(item, take(item.count * n * p));
}

}  // namespace

void SsdPackGroupChunk(const SsdShape& shape, const SsdArray<const float>& b_BTGN,
                       const SsdArray<const float>& c_BTGN, int64_t batch, int64_t group, int64_t chunk,
                       float* to) {
  const int64_t t0 = chunk * kSsdChunk, n = PaddedTo16(shape.state);
  const int64_t count = shape.tokens - t0 < kSsdChunk ? shape.tokens - t0 : kSsdChunk;
  float *const b_QN = to, *const c_QN = b_QN + kSsdChunk * n, *const bt_NQ = c_QN + kSsdChunk * n,
               *const ct_NQ = bt_NQ + kSsdChunk * n;
  const auto pack = [&](const SsdArray<const float>& array, float* rows) {
    PackRows(kSsdChunk, array.data + batch * array.batch + t0 * array.token + group * array.head, array.token,
             count, shape.state, n, rows);
  };
  pack(b_BTGN, b_QN);
  pack(c_BTGN, c_QN);
  Transpose(kSsdChunk, n, b_QN, n, bt_NQ, kSsdChunk);
  Transpose(kSsdChunk, n, c_QN, n, ct_NQ, kSsdChunk);
  LowerProduct<kSsdChunk>(n, c_QN, b_QN, ct_NQ + kSsdChunk * n);
}

bool SsdForwardItem(const SsdForwardArguments<float>& arguments, const float* group_chunks,
                    const SsdItem& item, float* workspace) {
  // Half a chunk keeps all that one of P = N = 64 touches in the first-level cache. What a group packed is in
  // whole ones.
  if (group_chunks == nullptr) return RunForward<kSsdChunk / 2>(arguments, nullptr, item, workspace);
  return RunForward<kSsdChunk>(arguments, group_chunks, item, workspace);
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
