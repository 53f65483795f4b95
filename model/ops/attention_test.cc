// The operator against LibTorch's formula, and what it refuses. The kernel's own accuracy is tested in
// kernels/attention.
#include "model/ops/attention.h"

#include <ATen/ATen.h>

#include <cmath>

#include "model/ops/testing_ops.h"

namespace retort {
namespace {

// Heads of a projection's output, [B, T, H*D].
at::Tensor Heads(int64_t batch, int64_t heads, int64_t tokens, int64_t width) {
  return at::randn({batch, tokens, heads * width}).unflatten(-1, {heads, width}).transpose(1, 2);
}

TEST(AttentionOp, IsTheFormulaWithGroupedHeads) {
  at::manual_seed(5);
  const at::Tensor q = Heads(2, 6, 70, 32), k = Heads(2, 2, 70, 32).contiguous(), v = Heads(2, 2, 70, 32);
  const auto [y, lse] = CausalAttention(q, k, v);
  const auto repeated = [](const at::Tensor& x) { return x.to(at::kDouble).repeat_interleave(3, 1); };
  const at::Tensor scores = at::matmul(q.to(at::kDouble), repeated(k).transpose(2, 3)) / std::sqrt(32.0);
  const at::Tensor masked = scores.masked_fill(at::ones({70, 70}, at::kBool).triu(1), -INFINITY);
  ExpectClose(y, at::matmul(at::softmax(masked, -1), repeated(v)), 2e-6, "y");  // 70 terms, scores below 6
  ExpectClose(lse, at::logsumexp(masked, -1), 1e-6, "lse");
  EXPECT_TRUE(y.transpose(1, 2).is_contiguous());
}

TEST(AttentionOp, GivesTheSameBitsOnOneThread) {
  at::manual_seed(5);
  const at::Tensor q = Heads(1, 6, 130, 32), k = Heads(1, 2, 130, 32), v = Heads(1, 2, 130, 32);
  ExpectSameBitsOnOneThread([&]() -> std::vector<at::Tensor> {
    const auto [y, lse] = CausalAttention(q, k, v);
    return {y, lse};
  });
}

TEST(AttentionOp, KnowsItsShapesWithoutData) {
  const at::TensorOptions meta = at::TensorOptions().device(at::kMeta).dtype(at::kFloat);
  const at::Tensor q = at::empty({2, 6, 7, 16}, meta), k = at::empty({2, 3, 7, 16}, meta);
  const auto [y, lse] = CausalAttention(q, k, k);
  EXPECT_EQ(y.sizes(), q.sizes());
  EXPECT_EQ(lse.sizes(), (std::vector<int64_t>{2, 6, 7}));
}

TEST(AttentionOp, RefusesWhatItCannotTakeByName) {
  const at::Tensor q = at::zeros({1, 4, 7, 16}), k = at::zeros({1, 2, 7, 16});
  ExpectRefused([&] { CausalAttention(q[0], k, k); },
                "retort::attention: q is [4, 7, 16]; it must be [B, H, T, D]");
  ExpectRefused(
      [&] {
        CausalAttention(q, at::zeros({1, 3, 7, 16}), k);
      },
      "retort::attention: k is [1, 3, 7, 16]; it must be [B, K, T, D] with K a divisor of H = 4");
  ExpectRefused(
      [&] {
        CausalAttention(q, k, at::zeros({1, 2, 8, 16}));
      },
      "retort::attention: v is [1, 2, 8, 16]; it must be [B, K, T, D] = [1, 2, 7, 16]");
  ExpectRefused(
      [&] {
        CausalAttention(at::zeros({1, 4, 7, 24}), k, k);
      },
      "retort::attention: q has rows of 24; they must be a multiple of 16, at most 256");
  ExpectRefused([&] { CausalAttention(q, k.to(at::kDouble), k); },
                "retort::attention: k is Double on cpu; it must be float32 on cpu");
  ExpectRefused([&] { CausalAttention(q.clone().requires_grad_(), k, k); },
                "retort::attention has no gradient");
}

}  // namespace
}  // namespace retort
