#include "model/ops/mean_distance.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>

#include "kernels/row_distance/row_distance.h"
#include "model/ops/arguments.h"
#include "model/ops/executor.h"

namespace retort {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

using Outputs = std::tuple<at::Tensor, at::Tensor>;  // the mean, and the directions [..., E]

void CheckInputs(const at::Tensor& s, const at::Tensor& t) {
  TORCH_CHECK(s.dim() >= 1 && s.numel() > 0, "retort::mean_distance: s is ", s.sizes(),
              "; it must be [..., E] with rows and elements");
  CheckFloats("mean_distance", "s", s, "[..., E]", s.sizes(), s.device());
  CheckFloats("mean_distance", "t", t, "s's", s.sizes(), s.device());
}

Outputs MeanDistanceCpu(const at::Tensor& s, const at::Tensor& t) {
  CheckInputs(s, t);
  const int64_t width = s.size(-1), rows = s.numel() / width;
  const at::Tensor s_rows = s.contiguous(), t_rows = t.contiguous(),
                   distances = at::empty({rows}, s.options()), directions = at::empty(s.sizes(), s.options());
  RowDistance({rows, width, s_rows.const_data_ptr<float>(), width, t_rows.const_data_ptr<float>(), width,
               distances.mutable_data_ptr<float>(), directions.mutable_data_ptr<float>()},
              TorchExecutor(), ActiveInstructionSet());
  return {distances.mean(), directions};
}

Outputs MeanDistanceMeta(const at::Tensor& s, const at::Tensor& t) {
  CheckInputs(s, t);
  return {at::empty({}, s.options()), at::empty(s.sizes(), s.options())};
}

const auto& Forward() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("retort::mean_distance", "")
                             .typed<decltype(MeanDistanceCpu)>();
  return op;
}

class MeanDistanceFunction : public torch::autograd::Function<MeanDistanceFunction> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& s, const at::Tensor& t) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [mean, directions] = Forward().call(s, t);
    context->save_for_backward({directions});
    context->mark_non_differentiable({directions});
    context->set_materialize_grads(false);
    return {mean, directions};
  }

  static variable_list backward(AutogradContext* context, const variable_list& incoming) {
    TORCH_CHECK(!context->needs_input_grad(1), "retort::mean_distance has no gradient by t");
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "retort::mean_distance is differentiable once (no create_graph)");
    if (!incoming[0].defined()) return variable_list(2);
    const at::Tensor directions = context->get_saved_variables()[0];
    const auto rows = static_cast<double>(directions.numel() / directions.size(-1));
    return {directions * (incoming[0] / rows), at::Tensor()};
  }
};

Outputs MeanDistanceAutograd(const at::Tensor& s, const at::Tensor& t) {
  const variable_list outputs = MeanDistanceFunction::apply(s, t);
  return {outputs[0], outputs[1]};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(retort, m) { m.def("mean_distance(Tensor s, Tensor t) -> (Tensor, Tensor)"); }

TORCH_LIBRARY_IMPL(retort, CPU, m) { m.impl("mean_distance", &MeanDistanceCpu); }

TORCH_LIBRARY_IMPL(retort, Meta, m) { m.impl("mean_distance", &MeanDistanceMeta); }

TORCH_LIBRARY_IMPL(retort, Autograd, m) { m.impl("mean_distance", &MeanDistanceAutograd); }

at::Tensor FusedMeanDistance(const at::Tensor& s, const at::Tensor& t) {
  return std::get<0>(Forward().call(s, t));
}

}  // namespace retort
