#include "model/ops/conv1d.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/conv1d/conv1d.h"
#include "model/ops/arguments.h"
#include "model/ops/executor.h"

namespace retort {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using OptionalTensor = std::optional<at::Tensor>;

using Outputs = std::tuple<at::Tensor, at::Tensor>;                            // y, final state
using Gradients = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;  // of absent inputs: empty

Conv1dShape CheckedShape(const char* op, const at::Tensor& x, const at::Tensor& weight,
                         const OptionalTensor& bias, const OptionalTensor& initial, bool silu) {
  TORCH_CHECK(x.dim() == 3, "retort::", op, ": x is ", x.sizes(), "; it must be [B, T, C]");
  TORCH_CHECK(weight.dim() == 2, "retort::", op, ": weight is ", weight.sizes(), "; it must be [C, K]");
  const Conv1dShape shape = {x.size(0), x.size(1), x.size(2), weight.size(1), silu};
  TORCH_CHECK(shape.taps >= kConv1dMinTaps && shape.taps <= kConv1dMaxTaps, "retort::", op, ": weight has ",
              shape.taps, " taps; it must have ", kConv1dMinTaps, " to ", kConv1dMaxTaps);
  CheckFloats(op, "x", x, "[B, T, C]", x.sizes(), x.device());
  CheckInnermost(op, "x", x);
  CheckFloats(op, "weight", weight, "[C, K]", {shape.channels, shape.taps}, x.device());
  if (bias) CheckFloats(op, "bias", *bias, "[C]", {shape.channels}, x.device());
  if (initial) {
    CheckFloats(op, "initial", *initial, "[B, K-1, C]", {shape.batch, shape.taps - 1, shape.channels},
                x.device());
  }
  return shape;
}

Outputs EmptyOutputs(const Conv1dShape& shape, const at::Tensor& x) {
  return {at::empty({shape.batch, shape.tokens, shape.channels}, x.options()),
          at::empty({shape.batch, shape.taps - 1, shape.channels}, x.options())};
}

Gradients EmptyGradients(const Conv1dShape& shape, const at::Tensor& x, bool bias, bool initial) {
  const auto& [dx, dinitial] = EmptyOutputs(shape, x);
  return {dx, at::empty({shape.channels, shape.taps}, x.options()),
          at::empty({bias ? shape.channels : 0}, x.options()),
          initial ? dinitial : at::empty({0}, x.options())};
}

Conv1dRows Rows(const at::Tensor& x_BTC) {
  return {x_BTC.const_data_ptr<float>(), x_BTC.stride(0), x_BTC.stride(1)};
}

// The small inputs, contiguous; null where absent.
struct Parameters {
  Parameters(const at::Tensor& weight, const OptionalTensor& bias, const OptionalTensor& initial)
      : weight(weight.contiguous()),
        bias(bias ? bias->contiguous() : at::Tensor()),
        initial(initial ? initial->contiguous() : at::Tensor()) {}
  static const float* Data(const at::Tensor& tensor) {
    return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
  }
  at::Tensor weight, bias, initial;
};

Outputs Conv1dCpu(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                  const OptionalTensor& initial, bool silu) {
  const Conv1dShape shape = CheckedShape("conv1d", x, weight, bias, initial, silu);
  Outputs outputs = EmptyOutputs(shape, x);
  const Parameters given(weight, bias, initial);
  Conv1dForward({shape, Rows(x), Parameters::Data(given.weight), Parameters::Data(given.bias),
                 Parameters::Data(given.initial), std::get<0>(outputs).mutable_data_ptr<float>(),
                 std::get<1>(outputs).mutable_data_ptr<float>()},
                TorchExecutor(), ActiveInstructionSet());
  return outputs;
}

Outputs Conv1dMeta(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                   const OptionalTensor& initial, bool silu) {
  return EmptyOutputs(CheckedShape("conv1d", x, weight, bias, initial, silu), x);
}

Conv1dShape CheckedGradients(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                             const OptionalTensor& initial, bool silu, const at::Tensor& grad_y,
                             const at::Tensor& grad_final) {
  const Conv1dShape s = CheckedShape("conv1d_backward", x, weight, bias, initial, silu);
  CheckFloats("conv1d_backward", "grad_y", grad_y, "[B, T, C]", x.sizes(), x.device());
  CheckInnermost("conv1d_backward", "grad_y", grad_y);
  CheckFloats("conv1d_backward", "grad_final", grad_final, "[B, K-1, C]", {s.batch, s.taps - 1, s.channels},
              x.device());
  return s;
}

Gradients Conv1dBackwardCpu(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                            const OptionalTensor& initial, bool silu, const at::Tensor& grad_y,
                            const at::Tensor& grad_final) {
  const Conv1dShape shape = CheckedGradients(x, weight, bias, initial, silu, grad_y, grad_final);
  Gradients gradients = EmptyGradients(shape, x, bias.has_value(), initial.has_value());
  const auto& [dx, dweight, dbias, dinitial] = gradients;
  const Parameters given(weight, bias, initial);
  const at::Tensor dfinal = grad_final.contiguous();
  Conv1dBackward({shape,
                  Rows(x),
                  Parameters::Data(given.weight),
                  Parameters::Data(given.bias),
                  Parameters::Data(given.initial),
                  Rows(grad_y),
                  Parameters::Data(dfinal),
                  {dx.mutable_data_ptr<float>(), dx.stride(0), dx.stride(1)},
                  dweight.mutable_data_ptr<float>(),
                  bias ? dbias.mutable_data_ptr<float>() : nullptr,
                  initial ? dinitial.mutable_data_ptr<float>() : nullptr},
                 TorchExecutor(), ActiveInstructionSet());
  return gradients;
}

Gradients Conv1dBackwardMeta(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                             const OptionalTensor& initial, bool silu, const at::Tensor& grad_y,
                             const at::Tensor& grad_final) {
  return EmptyGradients(CheckedGradients(x, weight, bias, initial, silu, grad_y, grad_final), x,
                        bias.has_value(), initial.has_value());
}

const auto& Forward() {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("retort::conv1d", "").typed<decltype(Conv1dCpu)>();
  return op;
}

const auto& Backward() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("retort::conv1d_backward", "")
                             .typed<decltype(Conv1dBackwardCpu)>();
  return op;
}

class Conv1dFunction : public torch::autograd::Function<Conv1dFunction> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                               const OptionalTensor& bias, const OptionalTensor& initial, bool silu) {
    const at::AutoDispatchBelowADInplaceOrView below;
    context->set_materialize_grads(false);
    context->save_for_backward({x, weight, bias.value_or(at::Tensor()), initial.value_or(at::Tensor())});
    context->saved_data["silu"] = silu;
    const auto [y, final_state] = Forward().call(x, weight, bias, initial, silu);
    return {y, final_state};
  }

  static variable_list backward(AutogradContext* context, const variable_list& incoming) {
    if (!incoming[0].defined() && !incoming[1].defined()) return variable_list(5);
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &bias = saved[2], &initial = saved[3];
    const at::Tensor grad_y = MaterialisedGradient(incoming[0], x.sizes(), x.options());
    const at::Tensor grad_final =
        MaterialisedGradient(incoming[1], {x.size(0), weight.size(1) - 1, x.size(2)}, x.options());
    const auto [dx, dweight, dbias, dinitial] =
        Backward().call(x, weight, OptionalOf(bias), OptionalOf(initial),
                        context->saved_data["silu"].toBool(), grad_y, grad_final);
    return {dx, dweight, bias.defined() ? dbias : at::Tensor(), initial.defined() ? dinitial : at::Tensor(),
            at::Tensor()};
  }
};

Outputs Conv1dAutograd(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                       const OptionalTensor& initial, bool silu) {
  const variable_list outputs = Conv1dFunction::apply(x, weight, bias, initial, silu);
  return {outputs[0], outputs[1]};
}

class Conv1dBackwardFunction : public torch::autograd::Function<Conv1dBackwardFunction> {
 public:
  static variable_list forward(AutogradContext*, const at::Tensor& x, const at::Tensor& weight,
                               const OptionalTensor& bias, const OptionalTensor& initial, bool silu,
                               const at::Tensor& grad_y, const at::Tensor& grad_final) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [dx, dweight, dbias, dinitial] =
        Backward().call(x, weight, bias, initial, silu, grad_y, grad_final);
    return {dx, dweight, dbias, dinitial};
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK(false, "retort::conv1d is not differentiable twice");
  }
};

Gradients Conv1dBackwardAutograd(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                                 const OptionalTensor& initial, bool silu, const at::Tensor& grad_y,
                                 const at::Tensor& grad_final) {
  const variable_list r = Conv1dBackwardFunction::apply(x, weight, bias, initial, silu, grad_y, grad_final);
  return {r[0], r[1], r[2], r[3]};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(retort, m) {
  m.def("conv1d(Tensor x, Tensor weight, Tensor? bias, Tensor? initial, bool silu) -> (Tensor, Tensor)");
  m.def(
      "conv1d_backward(Tensor x, Tensor weight, Tensor? bias, Tensor? initial, bool silu, Tensor grad_y, "
      "Tensor grad_final) -> (Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(retort, CPU, m) {
  m.impl("conv1d", &Conv1dCpu);
  m.impl("conv1d_backward", &Conv1dBackwardCpu);
}

TORCH_LIBRARY_IMPL(retort, Meta, m) {
  m.impl("conv1d", &Conv1dMeta);
  m.impl("conv1d_backward", &Conv1dBackwardMeta);
}

TORCH_LIBRARY_IMPL(retort, Autograd, m) {
  m.impl("conv1d", &Conv1dAutograd);
  m.impl("conv1d_backward", &Conv1dBackwardAutograd);
}

std::tuple<at::Tensor, at::Tensor> CausalConv1d(const at::Tensor& x_BTC, const at::Tensor& weight_CK,
                                                const at::Tensor& bias_C, const at::Tensor& initial_BKC,
                                                bool silu) {
  return Forward().call(x_BTC, weight_CK, OptionalOf(bias_C), OptionalOf(initial_BKC), silu);
}

}  // namespace retort
