// The plain LibTorch formulations of the method's hot operations, at the shapes that fast kernels are
// measured against: the scan at its candidate chunks, and stage 1 with both matrices materialised.
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include "core/base/process.h"
#include "model/layers/attention.h"
#include "model/layers/ssd.h"
#include "train/stages/losses.h"

namespace retort {
namespace {

SsdInputs RandomInputs(int64_t tokens, int64_t heads, bool gradients) {
  constexpr int64_t kWidth = 64, kState = 64;
  SsdInputs inputs = {at::randn({1, tokens, heads, kWidth}), -at::rand({1, tokens, heads}),
                      at::randn({1, tokens, heads, kState}), at::randn({1, tokens, heads, kState})};
  for (at::Tensor* tensor : {&inputs.x_BTHP, &inputs.log_decay_BTH, &inputs.b_BTGN, &inputs.c_BTGN}) {
    tensor->requires_grad_(gradients);
  }
  return inputs;
}

void SsdForward(benchmark::State& state) {
  const SsdInputs inputs = RandomInputs(2048, 32, /*gradients=*/false);
  for (auto _ : state) benchmark::DoNotOptimize(SsdChunked(inputs, state.range(0), at::Tensor()));
}
BENCHMARK(SsdForward)
    ->ArgName("chunk")
    ->Arg(32)
    ->Arg(64)
    ->Arg(128)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

void SsdForwardBackward(benchmark::State& state) {
  const SsdInputs inputs = RandomInputs(2048, 32, /*gradients=*/true);
  for (auto _ : state) SsdChunked(inputs, state.range(0), at::Tensor()).y_BTHP.sum().backward();
}
BENCHMARK(SsdForwardBackward)
    ->ArgName("chunk")
    ->Arg(32)
    ->Arg(64)
    ->Arg(128)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

void MatrixOrientationMaterialised(benchmark::State& state) {
  const int64_t tokens = state.range(0), heads = state.range(1);
  const SsdInputs student = RandomInputs(tokens, heads, /*gradients=*/true);
  const at::Tensor q = at::randn({1, heads, tokens, 64}), k = at::randn({1, heads, tokens, 64});
  const at::Tensor scores = at::matmul(q, k.transpose(2, 3)) / 8.0;
  const at::Tensor future = at::ones({tokens, tokens}, at::kBool).triu(1);
  const AttentionTaps taps = {q, k, scores.masked_fill(future, -INFINITY).logsumexp(-1)};
  for (auto _ : state) {
    const at::Tensor matrix = SsdMatrix(student.log_decay_BTH, student.b_BTGN, student.c_BTGN);
    MatrixOrientationLoss(matrix, AttentionMatrix(taps)).backward();
  }
}
BENCHMARK(MatrixOrientationMaterialised)
    ->ArgNames({"T", "H"})
    ->Args({512, 9})
    ->Args({2048, 4})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace retort

int main(int argc, char** argv) {
  retort::PrepareNumericProcess();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
