// A teacher's attention with its log-sum-exp, beside LibTorch's flash attention: SmolLM2-135M.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "model/ops/attention.h"
#include "tests/bench/bench.h"
#include "tests/bench/op_flops.h"

namespace retort {
namespace {

void BenchLength(int64_t tokens) {
  constexpr int64_t kHeads = 9, kKeyHeads = 3, kWidth = 64;
  constexpr int kCalls = 5;
  const c10::NoGradGuard no_grad;
  const at::Tensor q = at::randn({1, kHeads, tokens, kWidth}), k = at::randn({1, kKeyHeads, tokens, kWidth}),
                   v = at::randn({1, tokens, kKeyHeads, kWidth}).transpose(1, 2);
  const std::vector<double> seconds =
      TimeInterleaved(9, {[&] {
                            for (int call = 0; call < kCalls; ++call)
                              std::get<0>(CausalAttention(q, k, v)).transpose(1, 2).flatten(2);
                          },
                          [&] {
                            for (int call = 0; call < kCalls; ++call) {
                              std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(
                                              q, k.repeat_interleave(kHeads / kKeyHeads, 1),
                                              v.repeat_interleave(kHeads / kKeyHeads, 1), /*dropout_p=*/0.0,
                                              /*is_causal=*/true))
                                  .transpose(1, 2)
                                  .flatten(2);
                            }
                          }});
  const std::string name = "attention forward T=" + std::to_string(tokens) + " H=9 K=3 D=64";
  Report(name + ", ours", seconds[0] * 1e3 / kCalls, "ms");
  Report(name + ", LibTorch's", seconds[1] * 1e3 / kCalls, "ms");
  Report(name + ", rate", AttentionFlops(tokens, kHeads, kWidth, true) * kCalls / seconds[0] * 1e-9,
         "GFLOP/s");
  Report(name + ", LibTorch's / ours", seconds[1] / seconds[0], "x", AtLeast(1.5));
}

void BenchAttention() {
  for (const int64_t tokens : {512, 2048}) BenchLength(tokens);
}

const bool registered = RegisterBench("attention", &BenchAttention);

}  // namespace
}  // namespace retort
