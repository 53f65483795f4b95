#include "model/ops/swiglu.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>

#include "kernels/swiglu/swiglu.h"
#include "model/ops/arguments.h"
#include "model/ops/executor.h"

namespace retort {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

using Gradients = std::tuple<at::Tensor, at::Tensor>;  // of gate and up

void CheckInputs(const char* op, const at::Tensor& gate, const at::Tensor& up) {
  CheckFloats(op, "gate", gate, "[...]", gate.sizes(), gate.device());
  CheckFloats(op, "up", up, "gate's", gate.sizes(), gate.device());
}

at::Tensor EmptyLike(const at::Tensor& gate) { return at::empty(gate.sizes(), gate.options()); }

at::Tensor SwigluCpu(const at::Tensor& gate, const at::Tensor& up) {
  CheckInputs("swiglu", gate, up);
  const at::Tensor gates = gate.contiguous(), ups = up.contiguous(), y = EmptyLike(gate);
  SwigluForward(
      {gate.numel(), gates.const_data_ptr<float>(), ups.const_data_ptr<float>(), y.mutable_data_ptr<float>()},
      TorchExecutor(), ActiveInstructionSet());
  return y;
}

at::Tensor SwigluMeta(const at::Tensor& gate, const at::Tensor& up) {
  CheckInputs("swiglu", gate, up);
  return EmptyLike(gate);
}

void CheckGradient(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& grad_y) {
  CheckInputs("swiglu_backward", gate, up);
  CheckFloats("swiglu_backward", "grad_y", grad_y, "gate's", gate.sizes(), gate.device());
}

Gradients SwigluBackwardCpu(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& grad_y) {
  CheckGradient(gate, up, grad_y);
  const at::Tensor gates = gate.contiguous(), ups = up.contiguous(), dy = grad_y.contiguous(),
                   dgate = EmptyLike(gate), dup = EmptyLike(gate);
  SwigluBackward({gate.numel(), gates.const_data_ptr<float>(), ups.const_data_ptr<float>(),
                  dy.const_data_ptr<float>(), dgate.mutable_data_ptr<float>(), dup.mutable_data_ptr<float>()},
                 TorchExecutor(), ActiveInstructionSet());
  return {dgate, dup};
}

Gradients SwigluBackwardMeta(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& grad_y) {
  CheckGradient(gate, up, grad_y);
  return {EmptyLike(gate), EmptyLike(gate)};
}

const auto& Forward() {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("retort::swiglu", "").typed<decltype(SwigluCpu)>();
  return op;
}

const auto& Backward() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("retort::swiglu_backward", "")
                             .typed<decltype(SwigluBackwardCpu)>();
  return op;
}

class SwigluFunction : public torch::autograd::Function<SwigluFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up) {
    const at::AutoDispatchBelowADInplaceOrView below;
    context->set_materialize_grads(false);
    context->save_for_backward({gate, up});
    return Forward().call(gate, up);
  }

  static variable_list backward(AutogradContext* context, const variable_list& incoming) {
    if (!incoming[0].defined()) return variable_list(2);
    const variable_list saved = context->get_saved_variables();
    const auto [dgate, dup] = Backward().call(saved[0], saved[1], incoming[0]);
    return {dgate, dup};
  }
};

at::Tensor SwigluAutograd(const at::Tensor& gate, const at::Tensor& up) {
  return SwigluFunction::apply(gate, up);
}

class SwigluBackwardFunction : public torch::autograd::Function<SwigluBackwardFunction> {
 public:
  static variable_list forward(AutogradContext*, const at::Tensor& gate, const at::Tensor& up,
                               const at::Tensor& grad_y) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [dgate, dup] = Backward().call(gate, up, grad_y);
    return {dgate, dup};
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK(false, "retort::swiglu is not differentiable twice");
  }
};

Gradients SwigluBackwardAutograd(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& grad_y) {
  const variable_list r = SwigluBackwardFunction::apply(gate, up, grad_y);
  return {r[0], r[1]};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(retort, m) {
  m.def("swiglu(Tensor gate, Tensor up) -> Tensor");
  m.def("swiglu_backward(Tensor gate, Tensor up, Tensor grad_y) -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(retort, CPU, m) {
  m.impl("swiglu", &SwigluCpu);
  m.impl("swiglu_backward", &SwigluBackwardCpu);
}

TORCH_LIBRARY_IMPL(retort, Meta, m) {
  m.impl("swiglu", &SwigluMeta);
  m.impl("swiglu_backward", &SwigluBackwardMeta);
}

TORCH_LIBRARY_IMPL(retort, Autograd, m) {
  m.impl("swiglu", &SwigluAutograd);
  m.impl("swiglu_backward", &SwigluBackwardAutograd);
}

at::Tensor Swiglu(const at::Tensor& gate, const at::Tensor& up) { return Forward().call(gate, up); }

}  // namespace retort
