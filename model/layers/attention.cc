#include "model/layers/attention.h"

#include <ATen/ATen.h>

#include <cmath>
#include <tuple>

#include "model/layers/linear.h"
#include "model/layers/norm.h"
#include "model/ops/attention.h"
#include "model/ops/compute_path.h"

namespace retort {
namespace {

// [B, T, heads*D] -> [B, heads, T, D]
at::Tensor SplitHeads(const at::Tensor& x, int64_t heads) {
  return x.unflatten(-1, {heads, -1}).transpose(1, 2);
}

// q, k (after rotary) and v: [B, heads, T, D], heads being H, K, K.
struct Projected {
  at::Tensor q, k, v;
};

Projected Project(const at::Tensor& x_BTE, const AttentionWeights& weights, const AttentionShape& shape,
                  const RotaryTable& rotary) {
  const auto turned = [&](const at::Tensor& rows, int64_t heads, const at::Tensor& norm_D) {
    const at::Tensor split = SplitHeads(rows, heads);
    return ApplyRotary(norm_D.defined() ? RmsNorm(split, norm_D, shape.norm_eps) : split, rotary);
  };
  return {turned(Linear(x_BTE, weights.q_proj, weights.q_bias), shape.heads, weights.q_norm),
          turned(Linear(x_BTE, weights.k_proj, weights.k_bias), shape.kv_heads, weights.k_norm),
          SplitHeads(Linear(x_BTE, weights.v_proj, weights.v_bias), shape.kv_heads)};
}

// [B, K, T, D] -> [B, H, T, D]: each key/value head stands for H/K query heads in a row.
at::Tensor RepeatKv(const at::Tensor& x_BKTD, int64_t heads) {
  const int64_t repeats = heads / x_BKTD.size(1);
  return repeats == 1 ? x_BKTD : x_BKTD.repeat_interleave(repeats, 1);
}

// Outputs [B, H, T, D] and log-sum-exps [B, H, T].
std::tuple<at::Tensor, at::Tensor> CausalSoftmax(const at::Tensor& q_BHTD, const at::Tensor& k_BKTD,
                                                 const at::Tensor& v_BKTD) {
  const bool trains = at::GradMode::is_enabled() &&
                      (q_BHTD.requires_grad() || k_BKTD.requires_grad() || v_BKTD.requires_grad());
  if (!trains && KernelsTake(q_BHTD) && AttentionTakes(q_BHTD.size(-1))) {
    return CausalAttention(q_BHTD, k_BKTD, v_BKTD);
  }
  const int64_t heads = q_BHTD.size(1);
  return at::_scaled_dot_product_flash_attention_for_cpu(
      q_BHTD, RepeatKv(k_BKTD, heads), RepeatKv(v_BKTD, heads), /*dropout_p=*/0.0, /*is_causal=*/true);
}

}  // namespace

at::Tensor Attention(const at::Tensor& x_BTE, const AttentionWeights& weights, const AttentionShape& shape,
                     const RotaryTable& rotary, AttentionTaps* taps) {
  const auto [q, k, v] = Project(x_BTE, weights, shape, rotary);
  auto [y_BHTD, lse_BHT] = CausalSoftmax(q, k, v);
  if (taps != nullptr) *taps = {q, k, lse_BHT};
  return Linear(y_BHTD.transpose(1, 2).flatten(2), weights.o_proj, weights.o_bias);
}

at::Tensor AttentionWithCache(const at::Tensor& x_BTE, const AttentionWeights& weights,
                              const AttentionShape& shape, const RotaryTable& rotary, int64_t position,
                              KvCache& cache) {
  const int64_t tokens = x_BTE.size(1);
  const auto [q, k, v] = Project(x_BTE, weights, shape, rotary);
  cache.k_BKSD.narrow(2, position, tokens).copy_(k);
  cache.v_BKSD.narrow(2, position, tokens).copy_(v);
  const int64_t seen = position + tokens;
  const at::Tensor keys = RepeatKv(cache.k_BKSD.narrow(2, 0, seen), shape.heads);
  const at::Tensor values = RepeatKv(cache.v_BKSD.narrow(2, 0, seen), shape.heads);
  at::Tensor scores_BHTS =
      at::matmul(q, keys.transpose(2, 3)) / std::sqrt(static_cast<double>(shape.head_dim));
  if (tokens > 1) {
    const at::Tensor future = at::ones({tokens, seen}, at::kBool).triu(position + 1);
    scores_BHTS.masked_fill_(future, -INFINITY);
  }
  const at::Tensor y_BHTD = at::matmul(at::softmax(scores_BHTS, -1), values);
  return Linear(y_BHTD.transpose(1, 2).flatten(2), weights.o_proj, weights.o_bias);
}

at::Tensor AttentionMatrix(const AttentionTaps& taps) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(taps.q_BHTD.size(-1)));
  const at::Tensor k_BHTD = RepeatKv(taps.k_BKTD, taps.q_BHTD.size(1));
  at::Tensor scores_BHTT = at::matmul(taps.q_BHTD, k_BHTD.transpose(2, 3)).mul_(scale);
  return scores_BHTT.sub_(taps.lse_BHT.unsqueeze(-1)).exp_().tril_();
}

}  // namespace retort
