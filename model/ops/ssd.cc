#include "model/ops/ssd.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/ssd/ssd.h"
#include "model/ops/arguments.h"
#include "model/ops/executor.h"

namespace retort {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;
// y [B,T,H,P], final state [B,H,P,N], states entering the chunks [B,H,C,N,P], which the gradient needs (C is
// 0 where none is wanted).
using Results = std::tuple<Tensor, Tensor, Tensor>;
using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Tensor Defined(const OptionalTensor& tensor) { return tensor.value_or(Tensor()); }

// ---- Checks: once per call, before any kernel sees a pointer ----

// x [B, T, H, P] and b [B, T, G, N] give all sizes; the others must agree.
SsdShape CheckArguments(const char* op, const Tensor& x, const Tensor& log_decay, const Tensor& b,
                        const Tensor& c, const Tensor& dt, const Tensor& d, const Tensor& initial_state) {
  CheckRank(op, "x", x, "[B, T, H, P]", 4);
  CheckRank(op, "b", b, "[B, T, G, N]", 4);
  const auto check = [&](const char* name, const Tensor& tensor, const char* letters, at::IntArrayRef sizes) {
    CheckFloats(op, name, tensor, letters, sizes, x.device());
  };
  const SsdShape s = {x.size(0), x.size(1), x.size(2), b.size(2), x.size(3), b.size(3)};
  TORCH_CHECK(s.batch > 0 && s.heads > 0 && s.width > 0, "retort::", op, ": x is ", x.sizes(),
              "; only T of [B, T, H, P] may be 0");
  TORCH_CHECK(s.groups > 0 && s.state > 0 && s.heads % s.groups == 0, "retort::", op, ": b is ", b.sizes(),
              "; it must be [B, T, G, N] with N > 0 and G a divisor of H = ", s.heads);
  check("x", x, "[B, T, H, P]", {s.batch, s.tokens, s.heads, s.width});
  check("log_decay", log_decay, "[B, T, H]", {s.batch, s.tokens, s.heads});
  check("b", b, "[B, T, G, N]", {s.batch, s.tokens, s.groups, s.state});
  check("c", c, "[B, T, G, N]", {s.batch, s.tokens, s.groups, s.state});
  if (dt.defined()) check("dt", dt, "[B, T, H]", {s.batch, s.tokens, s.heads});
  if (d.defined()) check("d", d, "[H]", {s.heads});
  if (initial_state.defined()) {
    check("initial_state", initial_state, "[B, H, P, N]", {s.batch, s.heads, s.width, s.state});
  }
  CheckInnermost(op, "x", x);
  CheckInnermost(op, "b", b);
  CheckInnermost(op, "c", c);
  return s;
}

void CheckDecays(const char* op, const Tensor& log_decay) {
  if (log_decay.numel() == 0) return;
  const float most = log_decay.amax().item<float>();
  TORCH_CHECK(!(most > 0), "retort::", op, ": log_decay holds ", most, "; it must be <= 0 everywhere");
}

// ---- CPU ----

// No data where undefined.
SsdArray<const float> In(const Tensor& tensor) {
  if (!tensor.defined()) return {};
  return {tensor.const_data_ptr<float>(), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}
SsdArray<float> Out(const Tensor& tensor) {
  if (!tensor.defined()) return {};
  return {tensor.mutable_data_ptr<float>(), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}
const float* DataOrNull(const Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}
Tensor ContiguousOrUndefined(const OptionalTensor& tensor) {
  return tensor ? tensor->contiguous() : Tensor();
}

Results SsdMeta(const Tensor& x, const Tensor& log_decay, const Tensor& b, const Tensor& c,
                const OptionalTensor& dt, const OptionalTensor& d, const OptionalTensor& initial_state,
                bool for_gradient) {
  const SsdShape s =
      CheckArguments("ssd", x, log_decay, b, c, Defined(dt), Defined(d), Defined(initial_state));
  return {at::empty({s.batch, s.tokens, s.heads, s.width}, x.options()),
          at::empty({s.batch, s.heads, s.width, s.state}, x.options()),
          at::empty({s.batch, s.heads, for_gradient ? SsdChunks(s) : 0, s.state, s.width}, x.options())};
}

Results SsdCpu(const Tensor& x, const Tensor& log_decay, const Tensor& b, const Tensor& c,
               const OptionalTensor& dt, const OptionalTensor& d, const OptionalTensor& initial_state,
               bool for_gradient) {
  Results results = SsdMeta(x, log_decay, b, c, dt, d, initial_state, for_gradient);
  const auto& [y, final_state, chunk_states] = results;
  const Tensor d_H = ContiguousOrUndefined(d), initial = ContiguousOrUndefined(initial_state);
  const bool valid = SsdForward({{x.size(0), x.size(1), x.size(2), b.size(2), x.size(3), b.size(3)},
                                 In(x),
                                 In(log_decay),
                                 In(b),
                                 In(c),
                                 DataOrNull(d_H),
                                 DataOrNull(initial),
                                 Out(y),
                                 final_state.mutable_data_ptr<float>(),
                                 for_gradient ? chunk_states.mutable_data_ptr<float>() : nullptr,
                                 In(Defined(dt))},
                                TorchExecutor());
  if (!valid) CheckDecays("ssd", log_decay);
  return results;
}

// `has_initial_state`: whether its gradient is wanted. That and the gradients of dt and d are undefined
// otherwise.
Gradients SsdBackwardMeta(const Tensor& dy, const OptionalTensor& dfinal_state, const Tensor& x,
                          const Tensor& log_decay, const Tensor& b, const Tensor& c, const OptionalTensor& dt,
                          const OptionalTensor& d, const Tensor& chunk_states, bool has_initial_state) {
  constexpr const char* kOp = "ssd_backward";
  const SsdShape s = CheckArguments(kOp, x, log_decay, b, c, Defined(dt), Defined(d), Tensor());
  CheckFloats(kOp, "dy", dy, "[B, T, H, P]", x.sizes(), x.device());
  if (dfinal_state) {
    CheckFloats(kOp, "dfinal_state", *dfinal_state, "[B, H, P, N]", {s.batch, s.heads, s.width, s.state},
                x.device());
  }
  CheckFloats(kOp, "chunk_states", chunk_states, "[B, H, C, N, P]",
              {s.batch, s.heads, SsdChunks(s), s.state, s.width}, x.device());
  CheckContiguous(kOp, "chunk_states", chunk_states);
  const auto like = [](const Tensor& tensor) {
    return tensor.defined() ? at::empty(tensor.sizes(), tensor.options()) : Tensor();
  };
  return {like(x),
          like(log_decay),
          like(b),
          like(c),
          like(Defined(dt)),
          like(Defined(d)),
          has_initial_state ? at::empty({s.batch, s.heads, s.width, s.state}, x.options()) : Tensor()};
}

Gradients SsdBackwardCpu(const Tensor& dy, const OptionalTensor& dfinal_state, const Tensor& x,
                         const Tensor& log_decay, const Tensor& b, const Tensor& c, const OptionalTensor& dt,
                         const OptionalTensor& d, const Tensor& chunk_states, bool has_initial_state) {
  Gradients gradients =
      SsdBackwardMeta(dy, dfinal_state, x, log_decay, b, c, dt, d, chunk_states, has_initial_state);
  const auto& [dx, dlog_decay, db, dc, ddt, dd, dinitial_state] = gradients;
  const Tensor d_H = ContiguousOrUndefined(d), dfinal = ContiguousOrUndefined(dfinal_state);
  // Gradients come as autograd made them, expanded ones of a sum for instance.
  const Tensor dy_rows = dy.size(-1) > 1 && dy.stride(-1) != 1 ? dy.contiguous() : dy;
  SsdBackward({{x.size(0), x.size(1), x.size(2), b.size(2), x.size(3), b.size(3)},
               In(x),
               In(log_decay),
               In(b),
               In(c),
               DataOrNull(d_H),
               chunk_states.const_data_ptr<float>(),
               In(dy_rows),
               DataOrNull(dfinal),
               Out(dx),
               Out(dlog_decay),
               Out(db),
               Out(dc),
               dd.defined() ? dd.mutable_data_ptr<float>() : nullptr,
               dinitial_state.defined() ? dinitial_state.mutable_data_ptr<float>() : nullptr,
               In(Defined(dt)),
               Out(ddt)},
              TorchExecutor());
  return gradients;
}

Tensor SsdStepMeta(const Tensor& x, const Tensor& log_decay, const Tensor& b, const Tensor& c,
                   const OptionalTensor& d, const Tensor& state) {
  constexpr const char* kOp = "ssd_step";
  CheckRank(kOp, "x", x, "[B, H, P]", 3);
  CheckRank(kOp, "log_decay", log_decay, "[B, H]", 2);
  CheckRank(kOp, "b", b, "[B, G, N]", 3);
  CheckRank(kOp, "c", c, "[B, G, N]", 3);
  const auto one_token = [](const Tensor& tensor) { return tensor.unsqueeze(1); };
  CheckArguments(kOp, one_token(x), one_token(log_decay), one_token(b), one_token(c), Tensor(), Defined(d),
                 state);
  CheckContiguous(kOp, "state", state);
  return at::empty(x.sizes(), x.options());
}

Tensor SsdStepCpu(const Tensor& x, const Tensor& log_decay, const Tensor& b, const Tensor& c,
                  const OptionalTensor& d, const Tensor& state) {
  Tensor y = SsdStepMeta(x, log_decay, b, c, d, state);
  CheckDecays("ssd_step", log_decay);
  const Tensor d_H = ContiguousOrUndefined(d);
  const auto in = [](const Tensor& tensor) {
    return SsdArray<const float>{tensor.const_data_ptr<float>(), tensor.stride(0), 0, tensor.stride(1)};
  };
  SsdStep({{x.size(0), 1, x.size(1), b.size(1), x.size(2), b.size(2)},
           in(x),
           in(log_decay),
           in(b),
           in(c),
           DataOrNull(d_H),
           {y.mutable_data_ptr<float>(), y.stride(0), 0, y.stride(1)},
           state.mutable_data_ptr<float>()},
          TorchExecutor());
  return y;
}

// ---- Autograd ----

const auto& SsdHandle() {
  static const auto handle =
      c10::Dispatcher::singleton().findSchemaOrThrow("retort::ssd", "").typed<decltype(SsdCpu)>();
  return handle;
}

const auto& SsdBackwardHandle() {
  static const auto handle = c10::Dispatcher::singleton()
                                 .findSchemaOrThrow("retort::ssd_backward", "")
                                 .typed<decltype(SsdBackwardCpu)>();
  return handle;
}

const auto& SsdStepHandle() {
  static const auto handle =
      c10::Dispatcher::singleton().findSchemaOrThrow("retort::ssd_step", "").typed<decltype(SsdStepCpu)>();
  return handle;
}

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct SsdFunction : torch::autograd::Function<SsdFunction> {
  static variable_list forward(AutogradContext* context, const Tensor& x, const Tensor& log_decay,
                               const Tensor& b, const Tensor& c, const OptionalTensor& dt,
                               const OptionalTensor& d, const OptionalTensor& initial_state,
                               bool for_gradient) {
    at::AutoDispatchBelowADInplaceOrView below;
    const auto [y, final_state, chunk_states] =
        SsdHandle().call(x, log_decay, b, c, dt, d, initial_state, for_gradient);
    context->save_for_backward({x, log_decay, b, c, Defined(dt), Defined(d), chunk_states});
    context->saved_data["has_initial_state"] = initial_state.has_value();
    context->mark_non_differentiable({chunk_states});
    context->set_materialize_grads(false);
    return {y, final_state, chunk_states};
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor& x = saved[0];
    if (!gradients[0].defined() && !gradients[1].defined()) return variable_list(8);
    const Tensor dy = gradients[0].defined() ? gradients[0] : at::zeros({}, x.options()).expand_as(x);
    const auto [dx, dlog_decay, db, dc, ddt, dd, dinitial_state] = SsdBackwardHandle().call(
        dy, OptionalOf(gradients[1]), x, saved[1], saved[2], saved[3], OptionalOf(saved[4]),
        OptionalOf(saved[5]), saved[6], context->saved_data["has_initial_state"].toBool());
    return {dx, dlog_decay, db, dc, ddt, dd, dinitial_state, Tensor()};
  }
};

Results SsdAutograd(const Tensor& x, const Tensor& log_decay, const Tensor& b, const Tensor& c,
                    const OptionalTensor& dt, const OptionalTensor& d, const OptionalTensor& initial_state,
                    bool for_gradient) {
  const variable_list results = SsdFunction::apply(x, log_decay, b, c, dt, d, initial_state, for_gradient);
  return {results[0], results[1], results[2]};
}

// Refuses what would need a derivative, and otherwise goes on to the kernels.
void CheckNoGradient(std::initializer_list<OptionalTensor> tensors, const char* message) {
  if (!at::GradMode::is_enabled()) return;
  for (const OptionalTensor& tensor : tensors) {
    TORCH_CHECK_NOT_IMPLEMENTED(!(tensor && tensor->requires_grad()), message);
  }
}

Gradients SsdBackwardAutograd(const Tensor& dy, const OptionalTensor& dfinal_state, const Tensor& x,
                              const Tensor& log_decay, const Tensor& b, const Tensor& c,
                              const OptionalTensor& dt, const OptionalTensor& d, const Tensor& chunk_states,
                              bool has_initial_state) {
  CheckNoGradient({dy, dfinal_state, x, log_decay, b, c, dt, d},
                  "retort::ssd is differentiable once (no create_graph); model/layers/ssd.h is twice");
  at::AutoDispatchBelowADInplaceOrView below;
  return SsdBackwardHandle().call(dy, dfinal_state, x, log_decay, b, c, dt, d, chunk_states,
                                  has_initial_state);
}

Tensor SsdStepAutograd(const Tensor& x, const Tensor& log_decay, const Tensor& b, const Tensor& c,
                       const OptionalTensor& d, const Tensor& state) {
  CheckNoGradient({x, log_decay, b, c, d, state},
                  "retort::ssd_step has no gradient: call it under no_grad, or use retort::ssd");
  at::AutoDispatchBelowADInplaceOrView below;
  return SsdStepHandle().call(x, log_decay, b, c, d, state);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(retort, library) {
  library.def(
      "ssd(Tensor x, Tensor log_decay, Tensor b, Tensor c, Tensor? dt, Tensor? d, Tensor? initial_state, "
      "bool for_gradient) -> (Tensor, Tensor, Tensor)");
  library.def(
      "ssd_backward(Tensor dy, Tensor? dfinal_state, Tensor x, Tensor log_decay, Tensor b, Tensor c, "
      "Tensor? dt, Tensor? d, Tensor chunk_states, bool has_initial_state) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  library.def(
      "ssd_step(Tensor x, Tensor log_decay, Tensor b, Tensor c, Tensor? d, Tensor(a!) state) -> Tensor");
}
TORCH_LIBRARY_IMPL(retort, CPU, library) {
  library.impl("ssd", SsdCpu);
  library.impl("ssd_backward", SsdBackwardCpu);
  library.impl("ssd_step", SsdStepCpu);
}
TORCH_LIBRARY_IMPL(retort, Meta, library) {
  library.impl("ssd", SsdMeta);
  library.impl("ssd_backward", SsdBackwardMeta);
  library.impl("ssd_step", SsdStepMeta);
}
TORCH_LIBRARY_IMPL(retort, Autograd, library) {
  library.impl("ssd", SsdAutograd);
  library.impl("ssd_backward", SsdBackwardAutograd);
  library.impl("ssd_step", SsdStepAutograd);
}

std::tuple<Tensor, Tensor> FusedSsd(const Tensor& x_BTHP, const Tensor& log_decay_BTH, const Tensor& b_BTGN,
                                    const Tensor& c_BTGN, const Tensor& dt_BTH, const Tensor& d_H,
                                    const Tensor& initial_state_BHPN) {
  const auto trains = [](const Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); };
  const bool for_gradient = at::GradMode::is_enabled() &&
                            (trains(x_BTHP) || trains(log_decay_BTH) || trains(b_BTGN) || trains(c_BTGN) ||
                             trains(dt_BTH) || trains(d_H) || trains(initial_state_BHPN));
  const auto [y, final_state, chunk_states] =
      SsdHandle().call(x_BTHP, log_decay_BTH, b_BTGN, c_BTGN, OptionalOf(dt_BTH), OptionalOf(d_H),
                       OptionalOf(initial_state_BHPN), for_gradient);
  return {y, final_state};
}

Tensor FusedSsdStep(const Tensor& x_BHP, const Tensor& log_decay_BH, const Tensor& b_BGN, const Tensor& c_BGN,
                    const Tensor& d_H, const Tensor& state_BHPN) {
  return SsdStepHandle().call(x_BHP, log_decay_BH, b_BGN, c_BGN, OptionalOf(d_H), state_BHPN);
}

}  // namespace retort
