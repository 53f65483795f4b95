#include "model/layers/mamba2.h"

#include <ATen/ATen.h>

#include "core/base/check.h"
#include "model/layers/norm.h"
#include "model/layers/ssd.h"
#include "model/ops/compute_path.h"
#include "model/ops/conv1d.h"
#include "model/ops/mamba2_inputs.h"
#include "model/ops/ssd.h"
#include "model/ops/swiglu.h"

namespace retort {
namespace {

constexpr int64_t kPlainChunk = 64;  // fastest of 32, 64, 128 in the einsum form on CPUs

// bias + sum_k weight[k] x_{t-K+1+k}, in the stock form SiLU of that: the tokens before the sequence are
// `before`, or zero.
at::Tensor Conv(const at::Tensor& x_BTC, const at::Tensor& before_BKC, const at::Tensor& weight_CK,
                const at::Tensor& bias_C, Mamba2Form form) {
  const bool silu = form == Mamba2Form::kStock;
  if (KernelsTake(x_BTC)) {
    return std::get<0>(CausalConv1d(x_BTC, weight_CK, bias_C, before_BKC, silu));
  }
  const int64_t tokens = x_BTC.size(1), taps = weight_CK.size(1);
  const at::Tensor padded = before_BKC.defined() ? at::cat({before_BKC, x_BTC}, 1)
                                                 : at::constant_pad_nd(x_BTC, {0, 0, taps - 1, 0});
  at::Tensor y = bias_C;
  for (int64_t k = 0; k < taps; ++k) y = y + padded.narrow(1, k, tokens) * weight_CK.select(1, k);
  return silu ? at::silu(y) : y;
}

// The last K-1 rows of a sequence, zeros standing for those before its start.
at::Tensor LastRows(const at::Tensor& x_BTC, int64_t rows) {
  const int64_t missing = std::max<int64_t>(rows - x_BTC.size(1), 0);
  const at::Tensor padded = at::constant_pad_nd(x_BTC, {0, 0, missing, 0});
  return padded.narrow(1, padded.size(1) - rows, rows).clone();
}

// What the scan sees of a token.
struct ScanInputs {
  at::Tensor x_BTHP;
  at::Tensor dt_BTH;  // undefined in the discrete form
  at::Tensor log_decay_BTH, b_BTGN, c_BTGN;
  at::Tensor z_BTM;  // undefined where it is not made with the others

  at::Tensor scaled_x_BTHP() const { return dt_BTH.defined() ? x_BTHP * dt_BTH.unsqueeze(-1) : x_BTHP; }
};

struct Steps {
  at::Tensor dt_BTH;  // undefined in the discrete form
  at::Tensor log_decay_BTH;
};

Steps ProjectSteps(const at::Tensor& u_BTE, const Mamba2Weights& weights, Mamba2Form form) {
  if (form == Mamba2Form::kDiscrete) return {at::Tensor(), -at::softplus(at::linear(u_BTE, weights.a_proj))};
  const at::Tensor dt_BTH = at::softplus(at::linear(u_BTE, weights.dt_proj) + weights.dt_bias);
  return {dt_BTH, -weights.a_log.exp() * dt_BTH};
}

ScanInputs Project(const at::Tensor& u_BTE, const Mamba2Weights& weights, const Mamba2Shape& shape,
                   const Mamba2State& before, Mamba2State* after) {
  const at::Tensor x = at::linear(u_BTE, weights.x_proj), b = at::linear(u_BTE, weights.b_proj),
                   c = at::linear(u_BTE, weights.c_proj);
  ScanInputs scan;
  scan.x_BTHP = Conv(x, before.conv_x, weights.conv_x, weights.conv_x_bias, shape.form)
                    .unflatten(-1, {shape.heads, shape.head_dim});
  scan.b_BTGN = Conv(b, before.conv_b, weights.conv_b, weights.conv_b_bias, shape.form)
                    .unflatten(-1, {shape.groups, shape.state_size});
  scan.c_BTGN = Conv(c, before.conv_c, weights.conv_c, weights.conv_c_bias, shape.form)
                    .unflatten(-1, {shape.groups, shape.state_size});
  const Steps steps = ProjectSteps(u_BTE, weights, shape.form);
  scan.dt_BTH = steps.dt_BTH;
  scan.log_decay_BTH = steps.log_decay_BTH;
  if (after != nullptr) {
    const int64_t rows = shape.conv_kernel - 1;
    const auto extended = [](const at::Tensor& rows_before, const at::Tensor& now) {
      return rows_before.defined() ? at::cat({rows_before, now}, 1) : now;
    };
    after->conv_x = LastRows(extended(before.conv_x, x), rows);
    after->conv_b = LastRows(extended(before.conv_b, b), rows);
    after->conv_c = LastRows(extended(before.conv_c, c), rows);
  }
  return scan;
}

// A whole sequence of the stock form, of which no state is wanted.
ScanInputs ProjectSequence(const at::Tensor& u_BTE, const Mamba2Weights& w, const Mamba2Shape& shape) {
  const Mamba2Inputs inputs =
      FusedMamba2Inputs(u_BTE, {w.z_proj, w.x_proj, w.b_proj, w.c_proj, w.dt_proj, w.conv_x, w.conv_b,
                                w.conv_c, w.conv_x_bias, w.conv_b_bias, w.conv_c_bias, w.dt_bias, w.a_log});
  return {inputs.x_BTM.unflatten(-1, {shape.heads, shape.head_dim}),
          inputs.dt_BTH,
          inputs.log_decay_BTH,
          inputs.b_BTN.unflatten(-1, {shape.groups, shape.state_size}),
          inputs.c_BTN.unflatten(-1, {shape.groups, shape.state_size}),
          inputs.z_BTM};
}

// With the skip D x.
SsdResult Scan(const ScanInputs& scan, const at::Tensor& d_H) {
  if (!KernelsTake(scan.x_BTHP)) {
    const SsdResult result = SsdChunked({scan.scaled_x_BTHP(), scan.log_decay_BTH, scan.b_BTGN, scan.c_BTGN},
                                        std::min(kPlainChunk, scan.x_BTHP.size(1)), at::Tensor());
    return {result.y_BTHP + d_H.unsqueeze(-1) * scan.x_BTHP, result.state_BHPN};
  }
  auto [y_BTHP, state_BHPN] =
      FusedSsd(scan.x_BTHP, scan.log_decay_BTH, scan.b_BTGN, scan.c_BTGN, scan.dt_BTH, d_H, at::Tensor());
  return {y_BTHP, state_BHPN};
}

// `given_z_BTM` is undefined where it is still to be made.
at::Tensor Output(const at::Tensor& y_BTHP, const at::Tensor& u_BTE, const at::Tensor& given_z_BTM,
                  const Mamba2Weights& weights, const Mamba2Shape& shape, double eps) {
  const at::Tensor y_BTM = y_BTHP.flatten(2);
  if (shape.form == Mamba2Form::kDiscrete) {
    const at::Tensor z_BTM = at::linear(u_BTE, weights.z_proj, weights.z_bias);
    const at::Tensor gated_BTM = KernelsTake(y_BTM) ? Swiglu(z_BTM, y_BTM) : at::silu(z_BTM) * y_BTM;
    return at::linear(gated_BTM, weights.out_proj);
  }
  const at::Tensor z_BTM = given_z_BTM.defined() ? given_z_BTM : at::linear(u_BTE, weights.z_proj);
  return at::linear(GatedRmsNorm(y_BTM, z_BTM, weights.norm, shape.groups, eps), weights.out_proj);
}

}  // namespace

const std::vector<Mamba2Tensor>& Mamba2Tensors(Mamba2Form form) {
  using W = Mamba2Weights;
  static const std::vector<Mamba2Tensor> stock = {
      {"z_proj.weight", &W::z_proj, true, false},
      {"x_proj.weight", &W::x_proj, true, false},
      {"b_proj.weight", &W::b_proj, true, true},
      {"c_proj.weight", &W::c_proj, true, true},
      {"dt_proj.weight", &W::dt_proj, true, true},
      {"conv_x.weight", &W::conv_x, false, false},
      {"conv_x.bias", &W::conv_x_bias, false, false},
      {"conv_b.weight", &W::conv_b, false, true},
      {"conv_b.bias", &W::conv_b_bias, false, true},
      {"conv_c.weight", &W::conv_c, false, true},
      {"conv_c.bias", &W::conv_c_bias, false, true},
      {"dt_bias", &W::dt_bias, false, true},
      {"A_log", &W::a_log, false, true},
      {"D", &W::d, false, true},
      {"norm.weight", &W::norm, false, false},
      {"out_proj.weight", &W::out_proj, true, false},
  };
  static const std::vector<Mamba2Tensor> discrete = {
      {"z_proj.weight", &W::z_proj, true, false},
      {"z_bias", &W::z_bias, false, false},
      {"x_proj.weight", &W::x_proj, true, false},
      {"b_proj.weight", &W::b_proj, true, true},
      {"c_proj.weight", &W::c_proj, true, true},
      {"a_proj.weight", &W::a_proj, true, true},
      {"conv_x.weight", &W::conv_x, false, false},
      {"conv_x.bias", &W::conv_x_bias, false, false},
      {"conv_b.weight", &W::conv_b, false, true},
      {"conv_b.bias", &W::conv_b_bias, false, true},
      {"conv_c.weight", &W::conv_c, false, true},
      {"conv_c.bias", &W::conv_c_bias, false, true},
      {"D", &W::d, false, true},
      {"out_proj.weight", &W::out_proj, true, false},
  };
  return form == Mamba2Form::kStock ? stock : discrete;
}

void JoinProjections(Mamba2Weights& w) {
  if (!w.dt_proj.defined()) return;
  at::Tensor* const parts[] = {&w.z_proj, &w.x_proj, &w.b_proj, &w.c_proj, &w.dt_proj};
  std::vector<at::Tensor> values;
  for (const at::Tensor* part : parts) values.push_back(part->detach());
  const at::Tensor joined = at::cat(values);
  int64_t begin = 0;
  for (at::Tensor* part : parts) {
    const int64_t rows = part->size(0);
    *part = joined.narrow(0, begin, rows).detach();
    begin += rows;
  }
}

std::vector<int64_t> Mamba2TensorShape(const Mamba2Tensor& tensor, const Mamba2Shape& shape,
                                       int64_t hidden_size) {
  using W = Mamba2Weights;
  const auto is = [&](auto... members) { return ((tensor.member == members) || ...); };
  if (is(&W::z_proj, &W::x_proj)) return {shape.inner(), hidden_size};
  if (is(&W::b_proj, &W::c_proj)) return {shape.group_channels(), hidden_size};
  if (is(&W::dt_proj, &W::a_proj)) return {shape.heads, hidden_size};
  if (is(&W::out_proj)) return {hidden_size, shape.inner()};
  if (is(&W::conv_x)) return {shape.inner(), shape.conv_kernel};
  if (is(&W::conv_b, &W::conv_c)) return {shape.group_channels(), shape.conv_kernel};
  if (is(&W::conv_x_bias, &W::norm, &W::z_bias)) return {shape.inner()};
  if (is(&W::conv_b_bias, &W::conv_c_bias)) return {shape.group_channels()};
  RETORT_CHECK(is(&W::dt_bias, &W::a_log, &W::d)) << tensor.name;
  return {shape.heads};
}

at::Tensor Mamba2(const at::Tensor& u_BTE, const Mamba2Weights& weights, const Mamba2Shape& shape, double eps,
                  Mamba2State* state) {
  const bool fused = shape.form == Mamba2Form::kStock && state == nullptr && KernelsTake(u_BTE);
  const ScanInputs scan =
      fused ? ProjectSequence(u_BTE, weights, shape) : Project(u_BTE, weights, shape, Mamba2State{}, state);
  const SsdResult result = Scan(scan, weights.d);
  if (state != nullptr) state->ssm_BHPN = result.state_BHPN;
  return Output(result.y_BTHP, u_BTE, scan.z_BTM, weights, shape, eps);
}

at::Tensor Mamba2Step(const at::Tensor& u_B1E, const Mamba2Weights& weights, const Mamba2Shape& shape,
                      double eps, Mamba2State& state) {
  Mamba2State after;
  const ScanInputs scan = Project(u_B1E, weights, shape, state, &after);
  const at::Tensor x_BHP = scan.scaled_x_BTHP().squeeze(1);
  after.ssm_BHPN = state.ssm_BHPN;
  const at::Tensor log_decay_BH = scan.log_decay_BTH.squeeze(1), b_BGN = scan.b_BTGN.squeeze(1),
                   c_BGN = scan.c_BTGN.squeeze(1);
  const at::Tensor y_BHP = KernelsTake(x_BHP)
                               ? FusedSsdStep(x_BHP, log_decay_BH, b_BGN, c_BGN, at::Tensor(), after.ssm_BHPN)
                               : SsdStep(x_BHP, log_decay_BH, b_BGN, c_BGN, after.ssm_BHPN);
  state = after;
  const at::Tensor y_B1HP = y_BHP.unsqueeze(1) + weights.d.unsqueeze(-1) * scan.x_BTHP;
  return Output(y_B1HP, u_B1E, scan.z_BTM, weights, shape, eps);
}

Mamba2MatrixParts MatrixParts(const at::Tensor& u_BTE, const Mamba2Weights& weights,
                              const Mamba2Shape& shape) {
  const auto group_rows = [&](const at::Tensor& projection, const at::Tensor& conv, const at::Tensor& bias) {
    return Conv(at::linear(u_BTE, projection), at::Tensor(), conv, bias, shape.form)
        .unflatten(-1, {shape.groups, shape.state_size});
  };
  const Steps steps = ProjectSteps(u_BTE, weights, shape.form);
  return {steps.log_decay_BTH, steps.dt_BTH, group_rows(weights.b_proj, weights.conv_b, weights.conv_b_bias),
          group_rows(weights.c_proj, weights.conv_c, weights.conv_c_bias), weights.d};
}

at::Tensor Mamba2Matrix(const Mamba2MatrixParts& parts) {
  const at::Tensor matrix_BHTT = SsdMatrix(parts.log_decay_BTH, parts.b_BTGN, parts.c_BTGN);
  const at::Tensor scaled =
      parts.dt_BTH.defined() ? matrix_BHTT * parts.dt_BTH.transpose(1, 2).unsqueeze(2) : matrix_BHTT;
  const at::Tensor identity = at::eye(matrix_BHTT.size(-1), matrix_BHTT.options());
  return scaled + parts.d_H.view({-1, 1, 1}) * identity;
}

at::Tensor Mamba2Matrix(const at::Tensor& u_BTE, const Mamba2Weights& weights, const Mamba2Shape& shape) {
  return Mamba2Matrix(MatrixParts(u_BTE, weights, shape));
}

}  // namespace retort
