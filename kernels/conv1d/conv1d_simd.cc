// Tokens are taken four at a time, so that each row is loaded once for the four outputs it enters in
// registers and channels stream through memory side by side. A row pointer that leads nowhere (before the
// sequence, after it, not this item's to write) leads to zeros or to scratch, so the inner loops have no
// branches.
#include "kernels/conv1d/conv1d_simd.h"

#include "kernels/base/simd.h"

namespace retort::RETORT_ISA {
namespace {

constexpr int kQuad = 4;
constexpr int kRing = 8;  // rows of g kept: a power of two >= K

alignas(64) constexpr float kZeros[kConv1dChannelBlock] = {};

// The item's weights by taps; channels past the last are 0.
struct Weights {
  alignas(64) float tap[kConv1dMaxTaps][kConv1dChannelBlock];
  alignas(64) float bias[kConv1dChannelBlock];

  Weights(const float* weight_CK, const float* bias_C, int64_t taps, const Conv1dItem& item) {
    for (int64_t c = 0; c < kConv1dChannelBlock; ++c) {
      const bool inside = c < item.channels;
      for (int64_t w = 0; w < taps; ++w) {
        tap[w][c] = inside ? weight_CK[(item.channel_begin + c) * taps + w] : 0.0f;
      }
      bias[c] = inside && bias_C != nullptr ? bias_C[item.channel_begin + c] : 0.0f;
    }
  }
};

// Where an item's row t of [B, T, C] input begins; zeros past the end.
const float* Row(const Conv1dRows& rows, const Conv1dShape& shape, const Conv1dItem& item, int64_t t) {
  if (t >= shape.tokens) return kZeros;
  return rows.data + item.batch * rows.batch_stride + t * rows.token_stride + item.channel_begin;
}

// The same of x, which goes on before the sequence.
const float* InputRow(const Conv1dRows& x, const float* initial_BKC, const Conv1dShape& shape,
                      const Conv1dItem& item, int64_t t) {
  if (t >= 0) return Row(x, shape, item, t);
  if (initial_BKC == nullptr) return kZeros;
  const int64_t rows = shape.taps - 1;
  return initial_BKC + (item.batch * rows + t + rows) * shape.channels + item.channel_begin;
}

template <int K>
__attribute__((always_inline)) inline Float PreActivation(const Weights& weights, int64_t c,
                                                          const Float* rows) {
  Float u = Load(weights.bias + c);
#pragma GCC unroll 8
  for (int w = 0; w < K; ++w) u = MulAdd(Load(weights.tap[w] + c), rows[w], u);
  return u;
}

template <int K, bool kSilu>
void ForwardQuad(const Weights& weights, int64_t channels, const float* const* x, float* const* y) {
  ForEachVector(
      channels, [&](int64_t c, auto load, auto store) __attribute__((always_inline)) {
        Float rows[kQuad + K - 1];
#pragma GCC unroll 16
        for (int r = 0; r < kQuad + K - 1; ++r) rows[r] = load(x[r] + c);
#pragma GCC unroll 4
        for (int i = 0; i < kQuad; ++i) {
          const Float u = PreActivation<K>(weights, c, rows + i);
          store(y[i] + c, kSilu ? u * Sigmoid(u) : u);
        }
      });
}

template <int K, bool kSilu>
void Forward(const Conv1dForwardArgs& args, const Conv1dItem& item) {
  const Conv1dShape& shape = args.shape;
  const Weights weights(args.weight_CK, args.bias_C, K, item);
  alignas(64) float scratch[kConv1dChannelBlock];
  for (int64_t q = item.token_begin; q < item.token_end; q += kQuad) {
    const float* x[kQuad + K - 1];
    float* y[kQuad];
    for (int r = 0; r < kQuad + K - 1; ++r) {
      x[r] = InputRow(args.x, args.initial_BKC, shape, item, q - (K - 1) + r);
    }
    for (int i = 0; i < kQuad; ++i) {
      y[i] = q + i < item.token_end
                 ? args.y_BTC + (item.batch * shape.tokens + q + i) * shape.channels + item.channel_begin
                 : scratch;
    }
    ForwardQuad<K, kSilu>(weights, item.channels, x, y);
  }
}

// What a backward item keeps between its quads, all in the first-level cache.
struct BackwardRows {
  alignas(64) float g[kRing][kConv1dChannelBlock] = {};                  // row t at t % kRing
  alignas(64) float sums[kConv1dMaxTaps + 1][kConv1dChannelBlock] = {};  // dweight by taps; [K]: dbias
  alignas(64) float scratch[kConv1dChannelBlock];
};

// g of tokens q ... q+3, their part of the sums if they are the item's own, and dx of the tokens q-(K-1) ...
// q-(K-1)+3, which those complete.
template <int K, bool kSilu, bool kOwn>
void BackwardQuad(const Weights& weights, int64_t channels, int64_t q, const float* const* x,
                  const float* const* dy, float* const* dx, BackwardRows& kept) {
  ForEachVector(
      channels, [&](int64_t c, auto load, auto store) __attribute__((always_inline)) {
        Float rows[kQuad + K - 1], g[kQuad + K - 1];  // g[K-1+i] is token q+i
#pragma GCC unroll 16
        for (int r = 0; r < kQuad + K - 1; ++r) rows[r] = load(x[r] + c);
#pragma GCC unroll 8
        for (int r = 0; r < K - 1; ++r) g[r] = Load(kept.g[(q - (K - 1) + r) & (kRing - 1)] + c);
#pragma GCC unroll 4
        for (int i = 0; i < kQuad; ++i) {
          g[K - 1 + i] = load(dy[i] + c);
          if (kSilu) {
            const Float u = PreActivation<K>(weights, c, rows + i), sigmoid = Sigmoid(u);
            g[K - 1 + i] = g[K - 1 + i] * MulAdd(u * sigmoid, Broadcast(1.0f) - sigmoid, sigmoid);
          }
        }
#pragma GCC unroll 4
        for (int i = 0; i < kQuad; ++i) {
          Float sum = Load(weights.tap[0] + c) * g[K - 1 + i];
#pragma GCC unroll 8
          for (int w = 1; w < K; ++w) sum = MulAdd(Load(weights.tap[w] + c), g[K - 1 + i - w], sum);
          store(dx[i] + c, sum);
          Store(kept.g[(q + i) & (kRing - 1)] + c, g[K - 1 + i]);
        }
        if (!kOwn) return;
#pragma GCC unroll 8
        for (int w = 0; w < K; ++w) {
          Float sum = Load(kept.sums[w] + c);
#pragma GCC unroll 4
          for (int i = 0; i < kQuad; ++i) sum = MulAdd(g[K - 1 + i], rows[i + w], sum);
          Store(kept.sums[w] + c, sum);
        }
        const Float four = (g[K - 1] + g[K]) + (g[K + 1] + g[K + 2]);
        Store(kept.sums[K] + c, Load(kept.sums[K] + c) + four);
      });
}

// Where dx of row t goes: rows before the item's are another item's, or the initial ones.
float* GradientRow(const Conv1dBackwardArgs& args, const Conv1dItem& item, int64_t t, float* scratch) {
  const Conv1dShape& shape = args.shape;
  if (t >= item.token_begin && t < item.token_end) {
    return args.dx.data + item.batch * args.dx.batch_stride + t * args.dx.token_stride + item.channel_begin;
  }
  if (t >= 0 || item.token_begin > 0 || args.dinitial_BKC == nullptr) return scratch;
  const int64_t rows = shape.taps - 1;
  return args.dinitial_BKC + (item.batch * rows + t + rows) * shape.channels + item.channel_begin;
}

template <int K, bool kSilu>
void Backward(const Conv1dBackwardArgs& args, const Conv1dItem& item, float* sums) {
  const Conv1dShape& shape = args.shape;
  const Weights weights(args.weight_CK, args.bias_C, K, item);
  BackwardRows kept;
  // dx of the last token needs g of K-1 tokens beyond, which the next item computes again for itself.
  for (int64_t q = item.token_begin; q < item.token_end + K - 1; q += kQuad) {
    const float *x[kQuad + K - 1], *dy[kQuad];
    float* dx[kQuad];
    for (int r = 0; r < kQuad + K - 1; ++r) {
      x[r] = InputRow(args.x, args.initial_BKC, shape, item, q - (K - 1) + r);
    }
    for (int i = 0; i < kQuad; ++i) {
      dy[i] = Row(args.dy, shape, item, q + i);
      dx[i] = GradientRow(args, item, q + i - (K - 1), kept.scratch);
    }
    const bool own = q < item.token_end;
    (own ? BackwardQuad<K, kSilu, true> : BackwardQuad<K, kSilu, false>)(weights, item.channels, q, x, dy, dx,
                                                                         kept);
  }
  for (int w = 0; w <= K; ++w) {
    for (int64_t c = 0; c < item.channels; ++c) {
      sums[w * shape.channels + item.channel_begin + c] = kept.sums[w][c];
    }
  }
}

// Calls body.operator()<K>() for the K of the shape.
template <class Body>
void WithTaps(int64_t taps, const Body& body) {
  switch (taps) {
    case 2:
      return body.template operator()<2>();
    case 3:
      return body.template operator()<3>();
    case 4:
      return body.template operator()<4>();
    case 5:
      return body.template operator()<5>();
    case 6:
      return body.template operator()<6>();
    case 7:
      return body.template operator()<7>();
    case 8:
      return body.template operator()<8>();
  }
}

}  // namespace

void Conv1dForwardItem(const Conv1dForwardArgs& args, const Conv1dItem& item) {
  WithTaps(args.shape.taps,
           [&]<int K>() { (args.shape.silu ? Forward<K, true> : Forward<K, false>)(args, item); });
}

void Conv1dBackwardItem(const Conv1dBackwardArgs& args, const Conv1dItem& item, float* sums) {
  WithTaps(args.shape.taps,
           [&]<int K>() { (args.shape.silu ? Backward<K, true> : Backward<K, false>)(args, item, sums); });
}

}  // namespace retort::RETORT_ISA
