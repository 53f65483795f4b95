// Stage 1's loss with its gradients beside the same with both matrices materialised.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "model/layers/attention.h"
#include "model/layers/ssd.h"
#include "model/ops/mixing_loss.h"
#include "tests/bench/bench.h"
#include "tests/bench/memory.h"
#include "tests/bench/op_flops.h"
#include "tests/bench/peak.h"
#include "train/stages/losses.h"

namespace retort {
namespace {

struct Shape {
  int64_t tokens, heads, key_heads, groups, state_size;
  double log_decay;  // of the average token
  double goal;       // times faster than the plain form; 0 for none
};

struct Problem {
  MixingLossInputs inputs;
  AttentionTaps taps;

  std::vector<at::Tensor> Trained() const {
    return {inputs.c_BTGN, inputs.b_BTGN, inputs.log_decay_BTH, inputs.dt_BTH, inputs.d_H};
  }
};

constexpr int64_t kWidth = 64;

Problem MakeProblem(const Shape& shape) {
  const int64_t T = shape.tokens, H = shape.heads;
  Problem p;
  p.taps = {at::randn({1, H, T, kWidth}), at::randn({1, shape.key_heads, T, kWidth}), {}};
  const at::Tensor keys = p.taps.k_BKTD.repeat_interleave(H / shape.key_heads, 1);
  const at::Tensor future = at::ones({T, T}, at::kBool).triu(1);
  p.taps.lse_BHT =
      at::matmul(p.taps.q_BHTD, keys.transpose(2, 3)).div_(8.0).masked_fill_(future, -INFINITY).logsumexp(-1);
  p.inputs = {p.taps.q_BHTD.transpose(1, 2),
              p.taps.k_BKTD.transpose(1, 2),
              p.taps.lse_BHT.transpose(1, 2),
              at::randn({1, T, shape.groups, shape.state_size}) * 0.1,
              at::randn({1, T, shape.groups, shape.state_size}),
              at::rand({1, T, H}) * 2.0 * shape.log_decay,
              at::rand({1, T, H}) * 0.1,
              at::ones({H})};
  for (at::Tensor& x : p.Trained()) x.requires_grad_();
  return p;
}

void Fused(const Problem& p) { torch::autograd::grad({MeanMixingDistance(p.inputs)}, p.Trained()); }

// As Mamba2Matrix and the stage-1 loss of the training loop have it.
void Plain(const Problem& p) {
  const at::Tensor matrix = SsdMatrix(p.inputs.log_decay_BTH, p.inputs.b_BTGN, p.inputs.c_BTGN);
  const at::Tensor scaled = matrix * p.inputs.dt_BTH.transpose(1, 2).unsqueeze(2);
  const at::Tensor student = scaled + p.inputs.d_H.view({-1, 1, 1}) * at::eye(matrix.size(-1));
  torch::autograd::grad({MatrixOrientationLoss(student, AttentionMatrix(p.taps))}, p.Trained());
}

// The most resident memory that a call adds, over the bytes of its inputs.
double ExtraMemory(const Problem& p) {
  double inputs = 0;
  for (const at::Tensor& x : {p.inputs.q_BTHQ, p.inputs.k_BTKQ, p.inputs.lse_BTH}) inputs += x.nbytes();
  for (const at::Tensor& x : p.Trained()) inputs += x.nbytes();
  return AddedPeakBytes([&] { Fused(p); }) / inputs;
}

void BenchMixingLoss() {
  const Shape shapes[] = {
      {512, 9, 9, 9, 64, -1e-3, 25},  {512, 9, 3, 1, 64, -1e-3, 25},  {512, 9, 3, 1, 128, -1e-3, 25},
      {2048, 4, 4, 4, 64, -1e-3, 45}, {2048, 4, 4, 1, 64, -1e-3, 45}, {2048, 9, 3, 1, 128, -1e-3, 0},
      {2048, 9, 3, 1, 128, -0.5, 0},
  };
  for (const Shape& s : shapes) {
    char name[128];
    std::snprintf(name, sizeof(name), "mixing_loss T=%d H=%d K=%d G=%d N=%d l=%g", static_cast<int>(s.tokens),
                  static_cast<int>(s.heads), static_cast<int>(s.key_heads), static_cast<int>(s.groups),
                  static_cast<int>(s.state_size), s.log_decay);
    const Problem p = MakeProblem(s);
    const auto seconds = TimeInterleaved(s.tokens > 1000 ? 3 : 10, {[&] { Fused(p); }, [&] { Plain(p); }});
    Report(std::string(name) + " fused", seconds[0] * 1e3, "ms");
    Report(std::string(name) + " plain", seconds[1] * 1e3, "ms");
    Report(std::string(name) + " speed-up", seconds[1] / seconds[0], "x",
           s.goal > 0 ? AtLeast(s.goal) : BenchGoal());
    if (s.log_decay > -0.1) {  // nearly all tiles alive
      const double at_peak =
          MixingLossFlops(s.tokens, s.heads, s.groups, kWidth, s.state_size) / MeasuredPeakFlops();
      Report(std::string(name) + " share of measured peak", 100.0 * at_peak / seconds[0], "%");
      Report(std::string(name) + " speed-up if at that peak", seconds[1] / at_peak, "x");
    }
    Report(std::string(name) + " extra memory", ExtraMemory(p), "x inputs", AtMost(3));
  }
}

const bool registered = RegisterBench("mixing_loss", &BenchMixingLoss);

}  // namespace
}  // namespace retort
