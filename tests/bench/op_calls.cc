#include "tests/bench/op_calls.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "model/layers/mamba2.h"
#include "model/ops/conv1d.h"
#include "model/ops/gated_norm.h"
#include "model/ops/lm_head_kd.h"
#include "model/ops/rms_norm.h"
#include "model/ops/ssd.h"
#include "model/ops/swiglu.h"
#include "train/stages/losses.h"

namespace retort {
namespace {

constexpr int64_t kHeads = 9, kKeyHeads = 3, kWidth = 64, kState = 128;

at::Tensor Trained(const at::Tensor& x) { return x.requires_grad_(); }

void Gradients(const at::Tensor& y, const at::Tensor& dy, const std::vector<at::Tensor>& trained) {
  torch::autograd::grad({y}, trained, {dy});
}

std::vector<at::Tensor> TrainedOf(const SsdInputs& inputs) {
  return {inputs.x_BTHP, inputs.log_decay_BTH, inputs.b_BTGN, inputs.c_BTGN};
}

std::vector<at::Tensor> TrainedOf(const MixingLossInputs& inputs) {
  return {inputs.c_BTGN, inputs.b_BTGN, inputs.log_decay_BTH, inputs.dt_BTH, inputs.d_H};
}

// x, B and C of a Mamba-2 mixer with 32 heads of 64 and a state of 128.
OpCall ConvCall() {
  const at::Tensor x = Trained(at::randn({1, 2048, 2304})), weight = Trained(at::randn({2304, 4})),
                   bias = Trained(at::randn({2304})), dy = at::randn({1, 2048, 2304});
  return {"conv1d T=2048 C=2304 K=4", [=] {
            const at::Tensor y = std::get<0>(CausalConv1d(x, weight, bias, at::Tensor(), /*silu=*/true));
            Gradients(y, dy, {x, weight, bias});
          }};
}

OpCall GatedNormCall() {
  const at::Tensor x = Trained(at::randn({1, 2048, 2048})), z = Trained(at::randn({1, 2048, 2048})),
                   weight = Trained(at::randn({2048})), dy = at::randn({1, 2048, 2048});
  return {"gated_norm T=2048 M=2048", [=] {
            Gradients(GatedNorm(x, z, weight, 1, 1e-5), dy, {x, z, weight});
          }};
}

OpCall RmsNormCall() {
  const at::Tensor x = Trained(at::randn({1, 2048, 576})), weight = Trained(at::randn({576})),
                   dy = at::randn({1, 2048, 576});
  return {"rms_norm T=2048 E=576", [=] { Gradients(FusedRmsNorm(x, weight, 1e-5), dy, {x, weight}); }};
}

OpCall SwigluCall() {
  const at::Tensor gate = Trained(at::randn({1, 2048, 1536})), up = Trained(at::randn({1, 2048, 1536})),
                   dy = at::randn({1, 2048, 1536});
  return {"swiglu T=2048 F=1536", [=] { Gradients(Swiglu(gate, up), dy, {gate, up}); }};
}

OpCall HeadCall() {
  const at::Tensor hidden = at::randn({512, 576}), head = at::randn({49152, 576}) * 0.05;
  const LmHeadLabels labels = {at::randn({512, 576}), at::randn({49152, 576}) * 0.05, {}};
  const at::Tensor grad_head = at::zeros_like(head);
  return {"lm_head_kd n=512 V=49152 E=576",
          [=] { LmHeadKdGradients(hidden, head, labels, LmHeadKdOptions{}, grad_head); }};
}

OpCall DecodeCall() {
  constexpr int64_t kBatch = 256, kDecodeHeads = 32, kDecodeState = 64;
  const at::Tensor state = at::randn({kBatch, kDecodeHeads, kWidth, kDecodeState}),
                   x = at::randn({kBatch, kDecodeHeads, kWidth}),
                   log_decay = -at::rand({kBatch, kDecodeHeads}),
                   b = at::randn({kBatch, kDecodeHeads, kDecodeState}),
                   c = at::randn({kBatch, kDecodeHeads, kDecodeState});
  return {"ssd step B=256 H=32 P=N=64", [=] { FusedSsdStep(x, log_decay, b, c, at::Tensor(), state); }};
}

}  // namespace

SsdInputs SmolLmScan(int64_t tokens, double mean_log_decay) {
  return {Trained(at::randn({1, tokens, kHeads, kWidth})),
          Trained(at::rand({1, tokens, kHeads}).mul_(2 * mean_log_decay)),
          Trained(at::randn({1, tokens, 1, kState})), Trained(at::randn({1, tokens, 1, kState}))};
}

MixingProblem SmolLmMixing(int64_t tokens, double mean_log_decay) {
  const at::Tensor q = at::randn({1, kHeads, tokens, kWidth}), k = at::randn({1, kKeyHeads, tokens, kWidth});
  const at::Tensor keys = k.repeat_interleave(kHeads / kKeyHeads, 1);
  const at::Tensor lse = std::get<1>(at::_scaled_dot_product_flash_attention_for_cpu(
      q, keys, at::zeros_like(keys), /*dropout_p=*/0.0, /*is_causal=*/true));
  return {{q.transpose(1, 2), k.transpose(1, 2), lse.transpose(1, 2),
           Trained(at::randn({1, tokens, 1, kState}).mul_(0.1)), Trained(at::randn({1, tokens, 1, kState})),
           Trained(at::rand({1, tokens, kHeads}).mul_(2 * mean_log_decay)),
           Trained(at::rand({1, tokens, kHeads}).mul_(0.1)), Trained(at::ones({kHeads}))},
          {q, k, lse}};
}

void RunFusedScan(const SsdInputs& in) {
  const at::Tensor y = std::get<0>(
      FusedSsd(in.x_BTHP, in.log_decay_BTH, in.b_BTGN, in.c_BTGN, at::Tensor(), at::Tensor(), at::Tensor()));
  Gradients(y, in.x_BTHP.detach(), TrainedOf(in));
}

void RunPlainScan(const SsdInputs& in) {
  Gradients(SsdChunked(in, /*chunk=*/64, at::Tensor()).y_BTHP, in.x_BTHP.detach(), TrainedOf(in));
}

void RunFusedMixing(const MixingProblem& problem) {
  torch::autograd::grad({MeanMixingDistance(problem.inputs)}, TrainedOf(problem.inputs));
}

void RunPlainMixing(const MixingProblem& problem) {
  const MixingLossInputs& in = problem.inputs;
  const at::Tensor student = Mamba2Matrix({in.log_decay_BTH, in.dt_BTH, in.b_BTGN, in.c_BTGN, in.d_H});
  torch::autograd::grad({MatrixOrientationLoss(student, AttentionMatrix(problem.taps))}, TrainedOf(in));
}

std::vector<OpCall> OpCalls() {
  const SsdInputs scan = SmolLmScan(2048, -0.5);
  const MixingProblem mixing = SmolLmMixing(2048, -1e-3);
  return {ConvCall(),
          GatedNormCall(),
          RmsNormCall(),
          SwigluCall(),
          HeadCall(),
          {"mixing_loss T=2048 H=9 K=3 G=1 N=128", [=] { RunFusedMixing(mixing); }},
          {"ssd T=2048 H=9 G=1 P=64 N=128", [=] { RunFusedScan(scan); }},
          DecodeCall()};
}

}  // namespace retort
