#include "model/ops/gated_norm.h"

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

using Outputs = std::tuple<at::Tensor, at::Tensor>;                // y [..., M], 1 / rms [R, groups]
using Gradients = std::tuple<at::Tensor, at::Tensor, at::Tensor>;  // of x, z, weight

RmsNormShape CheckedShape(const char* op, const at::Tensor& x, const at::Tensor& z, const at::Tensor& weight,
                          int64_t groups, double eps) {
  TORCH_CHECK(x.dim() >= 1 && x.size(-1) >= 1, "retort::", op, ": x is ", x.sizes(),
              "; it must be [..., M] with channels");
  const int64_t channels = x.size(-1);
  CheckFloats(op, "x", x, "[..., M]", x.sizes(), x.device());
  CheckInnermost(op, "x", x);
  CheckFloats(op, "z", z, "x's", x.sizes(), x.device());
  CheckInnermost(op, "z", z);
  CheckFloats(op, "weight", weight, "[M]", {channels}, x.device());
  TORCH_CHECK(groups >= 1 && channels % groups == 0, "retort::", op, ": groups is ", groups,
              "; it must divide x's ", channels, " channels");
  TORCH_CHECK(eps > 0, "retort::", op, ": eps is ", eps, "; it must be above 0");
  return {x.numel() / channels, groups, channels / groups, static_cast<float>(eps)};
}

// [R, M] of [..., M]: a view where the rows are evenly spaced.
at::Tensor AsRows(const at::Tensor& x) { return x.reshape({x.numel() / x.size(-1), x.size(-1)}); }

RmsNormRows Rows(const at::Tensor& x_RM) { return {x_RM.const_data_ptr<float>(), x_RM.stride(0)}; }

Outputs EmptyOutputs(const RmsNormShape& shape, const at::Tensor& x) {
  return {at::empty(x.sizes(), x.options()), at::empty({shape.rows, shape.groups}, x.options())};
}

Outputs GatedNormCpu(const at::Tensor& x, const at::Tensor& z, const at::Tensor& weight, int64_t groups,
                     double eps) {
  const RmsNormShape shape = CheckedShape("gated_norm", x, z, weight, groups, eps);
  Outputs outputs = EmptyOutputs(shape, x);
  const at::Tensor x_rows = AsRows(x), z_rows = AsRows(z), weight_M = weight.contiguous();
  RmsNormForward(
      {shape, Rows(x_rows), Rows(z_rows), weight_M.const_data_ptr<float>(),
       std::get<0>(outputs).mutable_data_ptr<float>(), std::get<1>(outputs).mutable_data_ptr<float>()},
      TorchExecutor(), ActiveInstructionSet());
  return outputs;
}

Outputs GatedNormMeta(const at::Tensor& x, const at::Tensor& z, const at::Tensor& weight, int64_t groups,
                      double eps) {
  return EmptyOutputs(CheckedShape("gated_norm", x, z, weight, groups, eps), x);
}

RmsNormShape CheckedGradient(const at::Tensor& x, const at::Tensor& z, const at::Tensor& weight,
                             int64_t groups, double eps, const at::Tensor& rstd, const at::Tensor& grad_y) {
  const RmsNormShape shape = CheckedShape("gated_norm_backward", x, z, weight, groups, eps);
  CheckFloats("gated_norm_backward", "rstd", rstd, "[R, groups]", {shape.rows, groups}, x.device());
  CheckFloats("gated_norm_backward", "grad_y", grad_y, "x's", x.sizes(), x.device());
  CheckInnermost("gated_norm_backward", "grad_y", grad_y);
  return shape;
}

Gradients EmptyGradients(const at::Tensor& x, const at::Tensor& weight) {
  return {at::empty(x.sizes(), x.options()), at::empty(x.sizes(), x.options()),
          at::empty(weight.sizes(), x.options())};
}

Gradients GatedNormBackwardCpu(const at::Tensor& x, const at::Tensor& z, const at::Tensor& weight,
                               int64_t groups, double eps, const at::Tensor& rstd, const at::Tensor& grad_y) {
  const RmsNormShape shape = CheckedGradient(x, z, weight, groups, eps, rstd, grad_y);
  Gradients gradients = EmptyGradients(x, weight);
  const at::Tensor x_rows = AsRows(x), z_rows = AsRows(z), dy_rows = AsRows(grad_y),
                   weight_M = weight.contiguous(), rstd_RG = rstd.contiguous();
  RmsNormBackward(
      {shape, Rows(x_rows), Rows(z_rows), Rows(dy_rows), weight_M.const_data_ptr<float>(),
       rstd_RG.const_data_ptr<float>(), std::get<0>(gradients).mutable_data_ptr<float>(),
       std::get<1>(gradients).mutable_data_ptr<float>(), std::get<2>(gradients).mutable_data_ptr<float>()},
      TorchExecutor(), ActiveInstructionSet());
  return gradients;
}

Gradients GatedNormBackwardMeta(const at::Tensor& x, const at::Tensor& z, const at::Tensor& weight,
                                int64_t groups, double eps, const at::Tensor& rstd,
                                const at::Tensor& grad_y) {
  CheckedGradient(x, z, weight, groups, eps, rstd, grad_y);
  return EmptyGradients(x, weight);
}

const auto& Forward() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("retort::gated_norm", "")
                             .typed<decltype(GatedNormCpu)>();
  return op;
}

const auto& Backward() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("retort::gated_norm_backward", "")
                             .typed<decltype(GatedNormBackwardCpu)>();
  return op;
}

class GatedNormFunction : public torch::autograd::Function<GatedNormFunction> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& z,
                               const at::Tensor& weight, int64_t groups, double eps) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [y, rstd] = Forward().call(x, z, weight, groups, eps);
    context->mark_non_differentiable({rstd});
    context->set_materialize_grads(false);
    context->save_for_backward({x, z, weight, rstd});
    context->saved_data["groups"] = groups;
    context->saved_data["eps"] = eps;
    return {y, rstd};
  }

  static variable_list backward(AutogradContext* context, const variable_list& incoming) {
    if (!incoming[0].defined()) return variable_list(5);
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const auto [dx, dz, dweight] = Backward().call(
        x, saved[1], saved[2], context->saved_data["groups"].toInt(), context->saved_data["eps"].toDouble(),
        saved[3], MaterialisedGradient(incoming[0], x.sizes(), x.options()));
    return {dx, dz, dweight, at::Tensor(), at::Tensor()};
  }
};

Outputs GatedNormAutograd(const at::Tensor& x, const at::Tensor& z, const at::Tensor& weight, int64_t groups,
                          double eps) {
  const variable_list outputs = GatedNormFunction::apply(x, z, weight, groups, eps);
  return {outputs[0], outputs[1]};
}

class GatedNormBackwardFunction : public torch::autograd::Function<GatedNormBackwardFunction> {
 public:
  static variable_list forward(AutogradContext*, const at::Tensor& x, const at::Tensor& z,
                               const at::Tensor& weight, int64_t groups, double eps, const at::Tensor& rstd,
                               const at::Tensor& grad_y) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [dx, dz, dweight] = Backward().call(x, z, weight, groups, eps, rstd, grad_y);
    return {dx, dz, dweight};
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK(false, "retort::gated_norm is not differentiable twice");
  }
};

Gradients GatedNormBackwardAutograd(const at::Tensor& x, const at::Tensor& z, const at::Tensor& weight,
                                    int64_t groups, double eps, const at::Tensor& rstd,
                                    const at::Tensor& grad_y) {
  const variable_list r = GatedNormBackwardFunction::apply(x, z, weight, groups, eps, rstd, grad_y);
  return {r[0], r[1], r[2]};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(retort, m) {
  m.def("gated_norm(Tensor x, Tensor z, Tensor weight, int groups, float eps) -> (Tensor, Tensor)");
  m.def(
      "gated_norm_backward(Tensor x, Tensor z, Tensor weight, int groups, float eps, Tensor rstd, "
      "Tensor grad_y) -> (Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(retort, CPU, m) {
  m.impl("gated_norm", &GatedNormCpu);
  m.impl("gated_norm_backward", &GatedNormBackwardCpu);
}

TORCH_LIBRARY_IMPL(retort, Meta, m) {
  m.impl("gated_norm", &GatedNormMeta);
  m.impl("gated_norm_backward", &GatedNormBackwardMeta);
}

TORCH_LIBRARY_IMPL(retort, Autograd, m) {
  m.impl("gated_norm", &GatedNormAutograd);
  m.impl("gated_norm_backward", &GatedNormBackwardAutograd);
}

at::Tensor GatedNorm(const at::Tensor& x, const at::Tensor& z, const at::Tensor& weight_M, int64_t groups,
                     double eps) {
  return std::get<0>(Forward().call(x, z, weight_M, groups, eps));
}

}  // namespace retort
