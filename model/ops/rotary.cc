#include "model/ops/rotary.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/rotary/rotary.h"
#include "model/ops/arguments.h"
#include "model/ops/executor.h"

namespace retort {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

RotaryShape CheckedShape(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  CheckRank("rotary", "x", x, "[B, H, T, D]", 4);
  CheckFloats("rotary", "x", x, "[B, H, T, D]", x.sizes(), x.device());
  CheckInnermost("rotary", "x", x);
  const RotaryShape shape = {x.size(0), x.size(1), x.size(2), x.size(3)};
  TORCH_CHECK(shape.width % 2 == 0, "retort::rotary: x has rows of ", shape.width, "; they must be even");
  CheckFloats("rotary", "cos", cos, "[T, D/2]", {shape.tokens, shape.width / 2}, x.device());
  CheckFloats("rotary", "sin", sin, "[T, D/2]", {shape.tokens, shape.width / 2}, x.device());
  return shape;
}

at::Tensor RotaryCpu(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool back) {
  const RotaryShape shape = CheckedShape(x, cos, sin);
  const at::Tensor cos_rows = cos.contiguous(), sin_rows = sin.contiguous(),
                   y_BHTD = at::empty(x.sizes(), x.options());
  Rotary({shape,
          {x.const_data_ptr<float>(), x.stride(0), x.stride(1), x.stride(2)},
          cos_rows.const_data_ptr<float>(),
          sin_rows.const_data_ptr<float>(),
          back,
          y_BHTD.mutable_data_ptr<float>()},
         TorchExecutor(), ActiveInstructionSet());
  return y_BHTD;
}

at::Tensor RotaryMeta(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool) {
  CheckedShape(x, cos, sin);
  return at::empty(x.sizes(), x.options());
}

const auto& Handle() {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("retort::rotary", "").typed<decltype(RotaryCpu)>();
  return op;
}

class RotaryFunction : public torch::autograd::Function<RotaryFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin, bool back) {
    const at::AutoDispatchBelowADInplaceOrView below;
    context->set_materialize_grads(false);
    context->save_for_backward({cos, sin});
    context->saved_data["back"] = back;
    return Handle().call(x, cos, sin, back);
  }

  static variable_list backward(AutogradContext* context, const variable_list& incoming) {
    if (!incoming[0].defined()) return variable_list(4);
    const variable_list saved = context->get_saved_variables();
    const at::Tensor dy = MaterialisedGradient(incoming[0], incoming[0].sizes(), incoming[0].options());
    return {Handle().call(dy, saved[0], saved[1], !context->saved_data["back"].toBool()), at::Tensor(),
            at::Tensor(), at::Tensor()};
  }
};

at::Tensor RotaryAutograd(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool back) {
  return RotaryFunction::apply(x, cos, sin, back);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(retort, m) { m.def("rotary(Tensor x, Tensor cos, Tensor sin, bool back) -> Tensor"); }

TORCH_LIBRARY_IMPL(retort, CPU, m) { m.impl("rotary", &RotaryCpu); }

TORCH_LIBRARY_IMPL(retort, Meta, m) { m.impl("rotary", &RotaryMeta); }

TORCH_LIBRARY_IMPL(retort, Autograd, m) { m.impl("rotary", &RotaryAutograd); }

at::Tensor FusedRotary(const at::Tensor& x_BHTD, const at::Tensor& cos, const at::Tensor& sin) {
  return Handle().call(x_BHTD, cos, sin, /*back=*/false);
}

}  // namespace retort
