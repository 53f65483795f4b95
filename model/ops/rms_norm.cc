#include "model/ops/rms_norm.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>

#include "kernels/rms_norm/rms_norm.h"
#include "model/ops/arguments.h"
#include "model/ops/executor.h"

namespace retort {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

using Outputs = std::tuple<at::Tensor, at::Tensor>;    // y [..., E], 1 / rms [R]
using Gradients = std::tuple<at::Tensor, at::Tensor>;  // of x and weight; of weight empty where not wanted

RmsNormShape CheckedShape(const char* op, const at::Tensor& x, const at::Tensor& weight, double eps) {
  TORCH_CHECK(x.dim() >= 1 && x.size(-1) >= 1, "retort::", op, ": x is ", x.sizes(),
              "; it must be [..., E] with channels");
  CheckFloats(op, "x", x, "[..., E]", x.sizes(), x.device());
  CheckInnermost(op, "x", x);
  CheckFloats(op, "weight", weight, "[E]", {x.size(-1)}, x.device());
  TORCH_CHECK(eps > 0, "retort::", op, ": eps is ", eps, "; it must be above 0");
  return {x.numel() / x.size(-1), /*groups=*/1, x.size(-1), static_cast<float>(eps)};
}

// [R, E] of [..., E]: a view where the rows are evenly spaced.
at::Tensor AsRows(const at::Tensor& x) { return x.reshape({x.numel() / x.size(-1), x.size(-1)}); }

RmsNormRows Rows(const at::Tensor& x_RE) { return {x_RE.const_data_ptr<float>(), x_RE.stride(0)}; }

Outputs EmptyOutputs(const RmsNormShape& shape, const at::Tensor& x) {
  return {at::empty(x.sizes(), x.options()), at::empty({shape.rows}, x.options())};
}

Outputs RmsNormCpu(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const RmsNormShape shape = CheckedShape("rms_norm", x, weight, eps);
  const Outputs outputs = EmptyOutputs(shape, x);
  const at::Tensor x_RE = AsRows(x), weight_E = weight.contiguous();
  RmsNormForward(
      {shape, Rows(x_RE), /*z=*/{}, weight_E.const_data_ptr<float>(),
       std::get<0>(outputs).mutable_data_ptr<float>(), std::get<1>(outputs).mutable_data_ptr<float>()},
      TorchExecutor(), ActiveInstructionSet());
  return outputs;
}

Outputs RmsNormMeta(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return EmptyOutputs(CheckedShape("rms_norm", x, weight, eps), x);
}

RmsNormShape CheckedGradient(const at::Tensor& x, const at::Tensor& weight, double eps,
                             const at::Tensor& rstd, const at::Tensor& grad_y) {
  const RmsNormShape shape = CheckedShape("rms_norm_backward", x, weight, eps);
  CheckFloats("rms_norm_backward", "rstd", rstd, "[R]", {shape.rows}, x.device());
  CheckFloats("rms_norm_backward", "grad_y", grad_y, "x's", x.sizes(), x.device());
  CheckInnermost("rms_norm_backward", "grad_y", grad_y);
  return shape;
}

Gradients EmptyGradients(const at::Tensor& x, bool weight_wanted) {
  return {at::empty(x.sizes(), x.options()), at::empty({weight_wanted ? x.size(-1) : 0}, x.options())};
}

Gradients RmsNormBackwardCpu(const at::Tensor& x, const at::Tensor& weight, double eps,
                             const at::Tensor& rstd, const at::Tensor& grad_y, bool weight_wanted) {
  const RmsNormShape shape = CheckedGradient(x, weight, eps, rstd, grad_y);
  const Gradients gradients = EmptyGradients(x, weight_wanted);
  const auto& [dx, dweight] = gradients;
  const at::Tensor x_RE = AsRows(x), dy_RE = AsRows(grad_y), weight_E = weight.contiguous(),
                   rstd_R = rstd.contiguous();
  RmsNormBackward({shape, Rows(x_RE), /*z=*/{}, Rows(dy_RE), weight_E.const_data_ptr<float>(),
                   rstd_R.const_data_ptr<float>(), dx.mutable_data_ptr<float>(), /*dz_RM=*/nullptr,
                   weight_wanted ? dweight.mutable_data_ptr<float>() : nullptr},
                  TorchExecutor(), ActiveInstructionSet());
  return gradients;
}

Gradients RmsNormBackwardMeta(const at::Tensor& x, const at::Tensor& weight, double eps,
                              const at::Tensor& rstd, const at::Tensor& grad_y, bool weight_wanted) {
  CheckedGradient(x, weight, eps, rstd, grad_y);
  return EmptyGradients(x, weight_wanted);
}

const auto& Forward() {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("retort::rms_norm", "").typed<decltype(RmsNormCpu)>();
  return op;
}

const auto& Backward() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("retort::rms_norm_backward", "")
                             .typed<decltype(RmsNormBackwardCpu)>();
  return op;
}

class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                               double eps) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [y, rstd] = Forward().call(x, weight, eps);
    context->mark_non_differentiable({rstd});
    context->set_materialize_grads(false);
    context->save_for_backward({x, weight, rstd});
    context->saved_data["eps"] = eps;
    return {y, rstd};
  }

  static variable_list backward(AutogradContext* context, const variable_list& incoming) {
    if (!incoming[0].defined()) return variable_list(3);
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const bool weight_wanted = context->needs_input_grad(1);
    const auto [dx, dweight] =
        Backward().call(x, saved[1], context->saved_data["eps"].toDouble(), saved[2],
                        MaterialisedGradient(incoming[0], x.sizes(), x.options()), weight_wanted);
    return {dx, weight_wanted ? dweight : at::Tensor(), at::Tensor()};
  }
};

Outputs RmsNormAutograd(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const variable_list outputs = RmsNormFunction::apply(x, weight, eps);
  return {outputs[0], outputs[1]};
}

class RmsNormBackwardFunction : public torch::autograd::Function<RmsNormBackwardFunction> {
 public:
  static variable_list forward(AutogradContext*, const at::Tensor& x, const at::Tensor& weight, double eps,
                               const at::Tensor& rstd, const at::Tensor& grad_y, bool weight_wanted) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [dx, dweight] = Backward().call(x, weight, eps, rstd, grad_y, weight_wanted);
    return {dx, dweight};
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK(false, "retort::rms_norm is not differentiable twice");
  }
};

Gradients RmsNormBackwardAutograd(const at::Tensor& x, const at::Tensor& weight, double eps,
                                  const at::Tensor& rstd, const at::Tensor& grad_y, bool weight_wanted) {
  const variable_list r = RmsNormBackwardFunction::apply(x, weight, eps, rstd, grad_y, weight_wanted);
  return {r[0], r[1]};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(retort, m) {
  m.def("rms_norm(Tensor x, Tensor weight, float eps) -> (Tensor, Tensor)");
  m.def(
      "rms_norm_backward(Tensor x, Tensor weight, float eps, Tensor rstd, Tensor grad_y, bool weight_wanted) "
      "-> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(retort, CPU, m) {
  m.impl("rms_norm", &RmsNormCpu);
  m.impl("rms_norm_backward", &RmsNormBackwardCpu);
}

TORCH_LIBRARY_IMPL(retort, Meta, m) {
  m.impl("rms_norm", &RmsNormMeta);
  m.impl("rms_norm_backward", &RmsNormBackwardMeta);
}

TORCH_LIBRARY_IMPL(retort, Autograd, m) {
  m.impl("rms_norm", &RmsNormAutograd);
  m.impl("rms_norm_backward", &RmsNormBackwardAutograd);
}

at::Tensor FusedRmsNorm(const at::Tensor& x, const at::Tensor& weight_E, double eps) {
  return std::get<0>(Forward().call(x, weight_E, eps));
}

}  // namespace retort
