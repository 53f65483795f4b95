#include "model/ops/mamba2_inputs.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "kernels/conv1d/conv1d.h"
#include "kernels/step_sizes/step_sizes.h"
#include "model/ops/arguments.h"
#include "model/ops/executor.h"

namespace retort {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// z, x, b, c, dt, l, and the joint projection [B T, P], which the gradient needs.
using Outputs = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

constexpr int kProjections = 5;   // of z, x, b, c and dt, side by side in the joint one
constexpr int kConvolutions = 3;  // of x, b and c

// Sizes, and where each part lies in a row of the joint projection.
struct Layout {
  int64_t batch, tokens, taps;
  int64_t widths[kProjections], begins[kProjections];
  int64_t columns, row;  // rows begin at multiples of 64 bytes

  int64_t rows() const { return batch * tokens; }
  int64_t heads() const { return widths[4]; }
  Conv1dShape Conv(int part) const { return {batch, tokens, widths[part], taps, /*silu=*/true}; }
};

Layout CheckedLayout(const char* op, const Tensor& u, at::TensorList projections, at::TensorList convs,
                     at::TensorList conv_biases, const Tensor& dt_bias, const Tensor& a_log) {
  CheckRank(op, "u", u, "[B, T, E]", 3);
  CheckFloats(op, "u", u, "[B, T, E]", u.sizes(), u.device());
  TORCH_CHECK(projections.size() == kProjections && convs.size() == kConvolutions &&
                  conv_biases.size() == kConvolutions,
              "retort::", op, ": ", projections.size(), " projections, ", convs.size(), " convolutions, ",
              conv_biases.size(), " of their biases; it must be 5, 3 and 3");
  Layout layout = {u.size(0), u.size(1), 0, {}, {}, 0, 0};
  constexpr const char* kNames[kProjections] = {"z_proj", "x_proj", "b_proj", "c_proj", "dt_proj"};
  for (int i = 0; i < kProjections; ++i) {
    CheckRank(op, kNames[i], projections[i], "[rows, E]", 2);
    layout.widths[i] = projections[i].size(0);
    CheckFloats(op, kNames[i], projections[i], "[rows, E]", {layout.widths[i], u.size(2)}, u.device());
    layout.begins[i] = layout.columns;
    layout.columns += layout.widths[i];
  }
  layout.row = (layout.columns + 15) / 16 * 16;
  CheckRank(op, "conv_x", convs[0], "[M, K]", 2);
  layout.taps = convs[0].size(1);
  TORCH_CHECK(layout.taps >= kConv1dMinTaps && layout.taps <= kConv1dMaxTaps, "retort::", op, ": conv_x is ",
              convs[0].sizes(), "; K of [M, K] must be from ", kConv1dMinTaps, " to ", kConv1dMaxTaps);
  constexpr const char* kConvNames[kConvolutions] = {"conv_x", "conv_b", "conv_c"};
  for (int i = 0; i < kConvolutions; ++i) {
    const int64_t width = layout.widths[i + 1];
    CheckFloats(op, kConvNames[i], convs[i], "[rows of its projection, K]", {width, layout.taps}, u.device());
    CheckFloats(op, kConvNames[i], conv_biases[i], "[rows of its projection]", {width}, u.device());
  }
  CheckFloats(op, "dt_bias", dt_bias, "[H]", {layout.heads()}, u.device());
  CheckFloats(op, "a_log", a_log, "[H]", {layout.heads()}, u.device());
  return layout;
}

Outputs EmptyOutputs(const Layout& layout, const Tensor& u) {
  const auto part = [&](int64_t width) {
    return at::empty({layout.batch, layout.tokens, width}, u.options());
  };
  const Tensor projected = at::empty({layout.rows(), layout.row}, u.options());
  const Tensor z = projected.narrow(1, layout.begins[0], layout.widths[0])
                       .view({layout.batch, layout.tokens, layout.widths[0]});
  return {z,
          part(layout.widths[1]),
          part(layout.widths[2]),
          part(layout.widths[3]),
          part(layout.heads()),
          part(layout.heads()),
          projected};
}

// [P, E], all projections below each other: the memory that they lie in if they do so there, else a copy.
Tensor Joined(at::TensorList projections) {
  int64_t rows = 0;
  bool lie_so = true;
  const Tensor& first = projections[0];
  for (const Tensor& part : projections) {
    lie_so = lie_so && part.is_contiguous() && part.storage().is_alias_of(first.storage()) &&
             part.storage_offset() == first.storage_offset() + rows * first.size(1);
    rows += part.size(0);
  }
  return lie_so ? first.as_strided({rows, first.size(1)}, {first.size(1), 1}) : at::cat(projections);
}

Tensor Rows(const Tensor& x_BTC) { return x_BTC.reshape({x_BTC.size(0) * x_BTC.size(1), x_BTC.size(2)}); }

Outputs Mamba2InputsCpu(const Tensor& u, at::TensorList projections, at::TensorList convs,
                        at::TensorList conv_biases, const Tensor& dt_bias, const Tensor& a_log) {
  const Layout layout = CheckedLayout("mamba2_inputs", u, projections, convs, conv_biases, dt_bias, a_log);
  const Outputs outputs = EmptyOutputs(layout, u);
  const auto& [z, x, b, c, dt, log_decay, projected] = outputs;
  Tensor joint = projected.narrow(1, 0, layout.columns);
  at::mm_out(joint, Rows(u), Joined(projections).t());
  const float* const data = projected.const_data_ptr<float>();
  const Tensor* const convolved[kConvolutions] = {&x, &b, &c};
  for (int i = 0; i < kConvolutions; ++i) {
    const Tensor weight = convs[i].contiguous(), bias = conv_biases[i].contiguous();
    Conv1dForward({layout.Conv(i + 1),
                   {data + layout.begins[i + 1], layout.tokens * layout.row, layout.row},
                   weight.const_data_ptr<float>(),
                   bias.const_data_ptr<float>(),
                   /*initial_BKC=*/nullptr,
                   convolved[i]->mutable_data_ptr<float>(),
                   /*final_state_BKC=*/nullptr},
                  TorchExecutor(), ActiveInstructionSet());
  }
  const Tensor bias_H = dt_bias.contiguous(), a_log_H = a_log.contiguous();
  StepSizesForward(
      {layout.rows(), layout.heads(), data + layout.begins[4], layout.row, bias_H.const_data_ptr<float>(),
       a_log_H.const_data_ptr<float>(), dt.mutable_data_ptr<float>(), log_decay.mutable_data_ptr<float>()},
      TorchExecutor(), ActiveInstructionSet());
  return outputs;
}

Outputs Mamba2InputsMeta(const Tensor& u, at::TensorList projections, at::TensorList convs,
                         at::TensorList conv_biases, const Tensor& dt_bias, const Tensor& a_log) {
  return EmptyOutputs(CheckedLayout("mamba2_inputs", u, projections, convs, conv_biases, dt_bias, a_log), u);
}

// Gradients of z, x, b, c, dt and l in; out: of u, or empty where it is not wanted, of the five projections,
// the three convolutions, their biases, dt_bias and a_log.
std::vector<Tensor> BackwardCpu(at::TensorList gradients, const Tensor& u, at::TensorList projections,
                                at::TensorList convs, at::TensorList conv_biases, const Tensor& dt_bias,
                                const Tensor& a_log, const Tensor& projected, const Tensor& log_decay,
                                bool input_wanted) {
  const Layout layout =
      CheckedLayout("mamba2_inputs_backward", u, projections, convs, conv_biases, dt_bias, a_log);
  TORCH_CHECK(gradients.size() == 6, "retort::mamba2_inputs_backward: ", gradients.size(),
              " gradients; it must be 6");
  const Tensor dprojected = at::empty({layout.rows(), layout.row}, u.options());
  float* const to = dprojected.mutable_data_ptr<float>();
  const float* const data = projected.const_data_ptr<float>();
  std::vector<Tensor> results(1);
  dprojected.narrow(1, layout.begins[0], layout.widths[0]).copy_(Rows(gradients[0]));
  std::vector<Tensor> dconvs, dconv_biases;
  for (int i = 0; i < kConvolutions; ++i) {
    const Tensor weight = convs[i].contiguous(), bias = conv_biases[i].contiguous(),
                 dy = MaterialisedGradient(gradients[i + 1], gradients[i + 1].sizes(), u.options());
    dconvs.push_back(at::empty(weight.sizes(), u.options()));
    dconv_biases.push_back(at::empty(bias.sizes(), u.options()));
    Conv1dBackward({layout.Conv(i + 1),
                    {data + layout.begins[i + 1], layout.tokens * layout.row, layout.row},
                    weight.const_data_ptr<float>(),
                    bias.const_data_ptr<float>(),
                    /*initial_BKC=*/nullptr,
                    {dy.const_data_ptr<float>(), dy.stride(0), dy.stride(1)},
                    /*dfinal_BKC=*/nullptr,
                    {to + layout.begins[i + 1], layout.tokens * layout.row, layout.row},
                    dconvs.back().mutable_data_ptr<float>(),
                    dconv_biases.back().mutable_data_ptr<float>(),
                    /*dinitial_BKC=*/nullptr},
                   TorchExecutor(), ActiveInstructionSet());
  }
  const Tensor bias_H = dt_bias.contiguous(), a_log_H = a_log.contiguous(), ddt = gradients[4].contiguous(),
               dlog_decay = gradients[5].contiguous(), ddt_bias = at::empty_like(bias_H),
               da_log = at::empty_like(a_log_H);
  StepSizesBackward(
      {layout.rows(), layout.heads(), data + layout.begins[4], layout.row, bias_H.const_data_ptr<float>(),
       a_log_H.const_data_ptr<float>(), log_decay.const_data_ptr<float>(), ddt.const_data_ptr<float>(),
       dlog_decay.const_data_ptr<float>(), to + layout.begins[4], layout.row,
       ddt_bias.mutable_data_ptr<float>(), da_log.mutable_data_ptr<float>()},
      TorchExecutor(), ActiveInstructionSet());
  const Tensor joint = dprojected.narrow(1, 0, layout.columns);
  results[0] =
      input_wanted ? at::mm(joint, Joined(projections)).view(u.sizes()) : at::empty({0}, u.options());
  const Tensor dweights = at::mm(joint.t(), Rows(u));
  for (int i = 0; i < kProjections; ++i) {
    results.push_back(dweights.narrow(0, layout.begins[i], layout.widths[i]));
  }
  results.insert(results.end(), dconvs.begin(), dconvs.end());
  results.insert(results.end(), dconv_biases.begin(), dconv_biases.end());
  results.push_back(ddt_bias);
  results.push_back(da_log);
  return results;
}

std::vector<Tensor> BackwardMeta(at::TensorList gradients, const Tensor& u, at::TensorList projections,
                                 at::TensorList convs, at::TensorList conv_biases, const Tensor& dt_bias,
                                 const Tensor& a_log, const Tensor&, const Tensor&, bool input_wanted) {
  CheckedLayout("mamba2_inputs_backward", u, projections, convs, conv_biases, dt_bias, a_log);
  TORCH_CHECK(gradients.size() == 6, "retort::mamba2_inputs_backward: ", gradients.size(),
              " gradients; it must be 6");
  std::vector<Tensor> results = {input_wanted ? at::empty_like(u) : at::empty({0}, u.options())};
  for (const at::TensorList list : {projections, convs, conv_biases}) {
    for (const Tensor& tensor : list) results.push_back(at::empty(tensor.sizes(), u.options()));
  }
  for (const Tensor& tensor : {dt_bias, a_log}) results.push_back(at::empty(tensor.sizes(), u.options()));
  return results;
}

const auto& Forward() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("retort::mamba2_inputs", "")
                             .typed<decltype(Mamba2InputsCpu)>();
  return op;
}

const auto& Backward() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("retort::mamba2_inputs_backward", "")
                             .typed<decltype(BackwardCpu)>();
  return op;
}

class Mamba2InputsFunction : public torch::autograd::Function<Mamba2InputsFunction> {
 public:
  static variable_list forward(AutogradContext* context, const Tensor& u, at::TensorList projections,
                               at::TensorList convs, at::TensorList conv_biases, const Tensor& dt_bias,
                               const Tensor& a_log) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [z, x, b, c, dt, log_decay, projected] =
        Forward().call(u, projections, convs, conv_biases, dt_bias, a_log);
    variable_list saved = {u, dt_bias, a_log, projected, log_decay};
    for (const at::TensorList list : {projections, convs, conv_biases}) {
      saved.insert(saved.end(), list.begin(), list.end());
    }
    context->save_for_backward(saved);
    context->mark_non_differentiable({projected});
    context->set_materialize_grads(false);
    return {z, x, b, c, dt, log_decay, projected};
  }

  static variable_list backward(AutogradContext* context, const variable_list& incoming) {
    const variable_list saved = context->get_saved_variables();
    const at::TensorList lists(saved);
    const Tensor& u = saved[0];
    variable_list given(incoming.begin(), incoming.begin() + 6);  // of z, x, b, c, dt, l
    for (int i = 0; i < 6; ++i) {
      const int64_t width = lists[5 + std::min(i, kProjections - 1)].size(0);
      if (!given[i].defined()) given[i] = at::zeros({u.size(0), u.size(1), width}, u.options());
    }
    variable_list gradients =
        Backward().call(given, u, lists.slice(5, kProjections), lists.slice(5 + kProjections, kConvolutions),
                        lists.slice(5 + kProjections + kConvolutions, kConvolutions), saved[1], saved[2],
                        saved[3], saved[4], context->needs_input_grad(0));
    if (!context->needs_input_grad(0)) gradients[0] = Tensor();
    return gradients;
  }
};

Outputs Mamba2InputsAutograd(const Tensor& u, at::TensorList projections, at::TensorList convs,
                             at::TensorList conv_biases, const Tensor& dt_bias, const Tensor& a_log) {
  const variable_list outputs =
      Mamba2InputsFunction::apply(u, projections, convs, conv_biases, dt_bias, a_log);
  return {outputs[0], outputs[1], outputs[2], outputs[3], outputs[4], outputs[5], outputs[6]};
}

std::vector<Tensor> BackwardAutograd(at::TensorList gradients, const Tensor& u, at::TensorList projections,
                                     at::TensorList convs, at::TensorList conv_biases, const Tensor& dt_bias,
                                     const Tensor& a_log, const Tensor& projected, const Tensor& log_decay,
                                     bool input_wanted) {
  TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                              "retort::mamba2_inputs is differentiable once (no create_graph)");
  const at::AutoDispatchBelowADInplaceOrView below;
  return Backward().call(gradients, u, projections, convs, conv_biases, dt_bias, a_log, projected, log_decay,
                         input_wanted);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(retort, m) {
  m.def(
      "mamba2_inputs(Tensor u, Tensor[] projections, Tensor[] convs, Tensor[] conv_biases, Tensor dt_bias, "
      "Tensor a_log) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "mamba2_inputs_backward(Tensor[] gradients, Tensor u, Tensor[] projections, Tensor[] convs, "
      "Tensor[] conv_biases, Tensor dt_bias, Tensor a_log, Tensor projected, Tensor log_decay, "
      "bool input_wanted) -> Tensor[]");
}

TORCH_LIBRARY_IMPL(retort, CPU, m) {
  m.impl("mamba2_inputs", &Mamba2InputsCpu);
  m.impl("mamba2_inputs_backward", &BackwardCpu);
}

TORCH_LIBRARY_IMPL(retort, Meta, m) {
  m.impl("mamba2_inputs", &Mamba2InputsMeta);
  m.impl("mamba2_inputs_backward", &BackwardMeta);
}

TORCH_LIBRARY_IMPL(retort, Autograd, m) {
  m.impl("mamba2_inputs", &Mamba2InputsAutograd);
  m.impl("mamba2_inputs_backward", &BackwardAutograd);
}

Mamba2Inputs FusedMamba2Inputs(const Tensor& u_BTE, const Mamba2InputWeights& w) {
  const Tensor projections[] = {w.z_proj, w.x_proj, w.b_proj, w.c_proj, w.dt_proj};
  const Tensor convs[] = {w.conv_x, w.conv_b, w.conv_c};
  const Tensor biases[] = {w.conv_x_bias, w.conv_b_bias, w.conv_c_bias};
  const auto [z, x, b, c, dt, log_decay, projected] =
      Forward().call(u_BTE, projections, convs, biases, w.dt_bias, w.a_log);
  return {z, x, b, c, dt, log_decay};
}

}  // namespace retort
