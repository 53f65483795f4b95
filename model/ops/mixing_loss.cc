#include "model/ops/mixing_loss.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>

#include "kernels/mixing_loss/mixing_loss.h"
#include "model/ops/arguments.h"
#include "model/ops/executor.h"

namespace retort {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using OptionalTensor = std::optional<at::Tensor>;

// For c and b [B, T, G, N], log_decay and dt [B, T, H], d [H]; those of absent inputs are empty.
using Gradients = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

MixingLossShape CheckedShape(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                             const at::Tensor& c, const at::Tensor& b, const OptionalTensor& log_decay,
                             const OptionalTensor& dt, const OptionalTensor& d) {
  TORCH_CHECK(q.dim() == 4, "retort::mixing_loss: q is ", q.sizes(), "; it must be [B, T, H, Q]");
  TORCH_CHECK(k.dim() == 4, "retort::mixing_loss: k is ", k.sizes(), "; it must be [B, T, K, Q]");
  TORCH_CHECK(c.dim() == 4, "retort::mixing_loss: c is ", c.sizes(), "; it must be [B, T, G, N]");
  const MixingLossShape s = {q.size(0), q.size(1), q.size(2), k.size(2), c.size(2), q.size(3), c.size(3)};
  TORCH_CHECK(s.heads > 0 && s.key_heads > 0 && s.heads % s.key_heads == 0, "retort::mixing_loss: k has ",
              s.key_heads, " heads; they must divide q's ", s.heads);
  TORCH_CHECK(s.groups > 0 && s.heads % s.groups == 0, "retort::mixing_loss: c has ", s.groups,
              " groups; they must divide q's ", s.heads, " heads");
  TORCH_CHECK(MixingLossTakesHeadDim(s.head_dim), "retort::mixing_loss: q's head width is ", s.head_dim,
              "; it must be from 1 to 256");
  TORCH_CHECK(MixingLossTakesStateSize(s.state_size), "retort::mixing_loss: c's state size is ", s.state_size,
              "; it must be a multiple of 16 from 16 to 256");
  constexpr const char* kOp = "mixing_loss";
  const at::Device device = q.device();
  const std::initializer_list<int64_t> per_head = {s.batch, s.tokens, s.heads};
  CheckFloats(kOp, "q", q, "[B, T, H, Q]", q.sizes(), device);
  CheckFloats(kOp, "k", k, "[B, T, K, Q]", {s.batch, s.tokens, s.key_heads, s.head_dim}, device);
  CheckFloats(kOp, "lse", lse, "[B, T, H]", per_head, device);
  CheckFloats(kOp, "c", c, "[B, T, G, N]", {s.batch, s.tokens, s.groups, s.state_size}, device);
  CheckFloats(kOp, "b", b, "[B, T, G, N]", c.sizes(), device);
  if (log_decay) CheckFloats(kOp, "log_decay", *log_decay, "[B, T, H]", per_head, device);
  if (dt) CheckFloats(kOp, "dt", *dt, "[B, T, H]", per_head, device);
  if (d) CheckFloats(kOp, "d", *d, "[H]", {s.heads}, device);
  CheckInnermost(kOp, "q", q);
  CheckInnermost(kOp, "k", k);
  CheckInnermost(kOp, "c", c);
  CheckInnermost(kOp, "b", b);
  return s;
}

HeadRows<float> Rows(const at::Tensor& x_BTHn) {
  return {x_BTHn.const_data_ptr<float>(), x_BTHn.stride(0), x_BTHn.stride(1), x_BTHn.stride(2)};
}

// `d_H` contiguous.
MixingLossInput<float> KernelInput(const MixingLossShape& shape, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& lse, const at::Tensor& c, const at::Tensor& b,
                                   const OptionalTensor& log_decay, const OptionalTensor& dt,
                                   const at::Tensor& d_H) {
  MixingLossInput<float> input = {shape, Rows(q), Rows(k), Rows(lse), Rows(c), Rows(b), {}, {}, nullptr};
  if (log_decay) input.log_decay_BTH = Rows(*log_decay);
  if (dt) input.dt_BTH = Rows(*dt);
  if (d_H.defined()) input.d_H = d_H.const_data_ptr<float>();
  return input;
}

void CheckLogDecay(const OptionalTensor& log_decay) {
  if (!log_decay || log_decay->numel() == 0) return;
  const float most = log_decay->max().item<float>();
  TORCH_CHECK(!(most > 0.0f), "retort::mixing_loss: log_decay has an element ", most, "; it must be <= 0");
}

at::Tensor Contiguous(const OptionalTensor& x) { return x ? x->contiguous() : at::Tensor(); }

at::Tensor MixingLossCpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse, const at::Tensor& c,
                         const at::Tensor& b, const OptionalTensor& log_decay, const OptionalTensor& dt,
                         const OptionalTensor& d) {
  const MixingLossShape shape = CheckedShape(q, k, lse, c, b, log_decay, dt, d);
  CheckLogDecay(log_decay);
  const at::Tensor d_H = Contiguous(d);
  at::Tensor loss = at::empty({shape.batch, shape.heads}, q.options());
  MixingLossForward(KernelInput(shape, q, k, lse, c, b, log_decay, dt, d_H), loss.mutable_data_ptr<float>(),
                    ActiveInstructionSet(), TorchExecutor());
  return loss;
}

at::Tensor MixingLossMeta(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                          const at::Tensor& c, const at::Tensor& b, const OptionalTensor& log_decay,
                          const OptionalTensor& dt, const OptionalTensor& d) {
  const MixingLossShape shape = CheckedShape(q, k, lse, c, b, log_decay, dt, d);
  return at::empty({shape.batch, shape.heads}, q.options());
}

void CheckWeight(const char* op, const at::Tensor& weight, int64_t batch, int64_t heads) {
  TORCH_CHECK(weight.sizes() == at::IntArrayRef({batch, heads}), "retort::", op, ": weight is ",
              weight.sizes(), "; it must be [B, H] = ", at::IntArrayRef({batch, heads}));
}

Gradients EmptyGradients(const MixingLossShape& s, const at::Tensor& like, const OptionalTensor& log_decay,
                         const OptionalTensor& dt, const OptionalTensor& d) {
  const auto empty = [&](bool there, at::IntArrayRef sizes) {
    return at::empty(there ? sizes : at::IntArrayRef({0}), like.options());
  };
  return {empty(true, {s.batch, s.tokens, s.groups, s.state_size}),
          empty(true, {s.batch, s.tokens, s.groups, s.state_size}),
          empty(log_decay.has_value(), {s.batch, s.tokens, s.heads}),
          empty(dt.has_value(), {s.batch, s.tokens, s.heads}), empty(d.has_value(), {s.heads})};
}

MixingLossGradients<float> KernelGradients(const Gradients& gradients, const OptionalTensor& log_decay,
                                           const OptionalTensor& dt, const OptionalTensor& d) {
  const auto data = [](const at::Tensor& x, bool there) {
    return there ? x.mutable_data_ptr<float>() : nullptr;
  };
  return {data(std::get<0>(gradients), true), data(std::get<1>(gradients), true),
          data(std::get<2>(gradients), log_decay.has_value()), data(std::get<3>(gradients), dt.has_value()),
          data(std::get<4>(gradients), d.has_value())};
}

Gradients MixingLossBackwardCpu(const at::Tensor& weight, const at::Tensor& q, const at::Tensor& k,
                                const at::Tensor& lse, const at::Tensor& c, const at::Tensor& b,
                                const OptionalTensor& log_decay, const OptionalTensor& dt,
                                const OptionalTensor& d) {
  const MixingLossShape shape = CheckedShape(q, k, lse, c, b, log_decay, dt, d);
  CheckWeight("mixing_loss_backward", weight, shape.batch, shape.heads);
  Gradients gradients = EmptyGradients(shape, q, log_decay, dt, d);
  const at::Tensor d_H = Contiguous(d), weight_BH = weight.to(at::kFloat).contiguous();
  MixingLossBackward(KernelInput(shape, q, k, lse, c, b, log_decay, dt, d_H),
                     weight_BH.const_data_ptr<float>(), KernelGradients(gradients, log_decay, dt, d),
                     ActiveInstructionSet(), TorchExecutor());
  return gradients;
}

Gradients MixingLossBackwardMeta(const at::Tensor& weight, const at::Tensor& q, const at::Tensor& k,
                                 const at::Tensor& lse, const at::Tensor& c, const at::Tensor& b,
                                 const OptionalTensor& log_decay, const OptionalTensor& dt,
                                 const OptionalTensor& d) {
  const MixingLossShape shape = CheckedShape(q, k, lse, c, b, log_decay, dt, d);
  CheckWeight("mixing_loss_backward", weight, shape.batch, shape.heads);
  return EmptyGradients(shape, q, log_decay, dt, d);
}

// S [B, H] and the gradients of each S_bh by itself: those of c, b, log_decay and dt as Gradients has them,
// that of d [B, H].
using LossAndGradients = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

MixingLossShape CheckedOneWalk(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                               const at::Tensor& c, const at::Tensor& b, const OptionalTensor& log_decay,
                               const OptionalTensor& dt, const OptionalTensor& d) {
  const MixingLossShape s = CheckedShape(q, k, lse, c, b, log_decay, dt, d);
  TORCH_CHECK(s.groups == s.heads, "retort::mixing_loss_gradients: c has ", s.groups,
              " groups; it must have one for each of q's ", s.heads, " heads");
  return s;
}

LossAndGradients EmptyLossAndGradients(const MixingLossShape& s, const at::Tensor& like,
                                       const OptionalTensor& log_decay, const OptionalTensor& dt,
                                       const OptionalTensor& d) {
  const auto [c, b, grad_log_decay, grad_dt, unused] = EmptyGradients(s, like, log_decay, dt, std::nullopt);
  const at::Tensor grad_d = d ? at::empty({s.batch, s.heads}, like.options()) : unused;
  return {at::empty({s.batch, s.heads}, like.options()), c, b, grad_log_decay, grad_dt, grad_d};
}

LossAndGradients MixingLossGradientsCpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                                        const at::Tensor& c, const at::Tensor& b,
                                        const OptionalTensor& log_decay, const OptionalTensor& dt,
                                        const OptionalTensor& d) {
  const MixingLossShape shape = CheckedOneWalk(q, k, lse, c, b, log_decay, dt, d);
  CheckLogDecay(log_decay);
  LossAndGradients result = EmptyLossAndGradients(shape, q, log_decay, dt, d);
  const auto& [loss, grad_c, grad_b, grad_log_decay, grad_dt, grad_d] = result;
  const at::Tensor d_H = Contiguous(d);
  MixingLossForwardBackward(
      KernelInput(shape, q, k, lse, c, b, log_decay, dt, d_H), loss.mutable_data_ptr<float>(),
      KernelGradients({grad_c, grad_b, grad_log_decay, grad_dt, {}}, log_decay, dt, std::nullopt),
      d ? grad_d.mutable_data_ptr<float>() : nullptr, ActiveInstructionSet(), TorchExecutor());
  return result;
}

LossAndGradients MixingLossGradientsMeta(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                                         const at::Tensor& c, const at::Tensor& b,
                                         const OptionalTensor& log_decay, const OptionalTensor& dt,
                                         const OptionalTensor& d) {
  return EmptyLossAndGradients(CheckedOneWalk(q, k, lse, c, b, log_decay, dt, d), q, log_decay, dt, d);
}

// The gradients of each S_bh, empty ones absent, to those of sum_bh weight_bh S_bh. Any device.
Gradients Scaled(const at::Tensor& weight, const at::Tensor& c, const at::Tensor& b,
                 const at::Tensor& log_decay, const at::Tensor& dt, const at::Tensor& d) {
  CheckWeight("mixing_loss_scale", weight, c.size(0), c.size(2));
  const at::Tensor weight_B1H = weight.unsqueeze(1), weight_B1H1 = weight_B1H.unsqueeze(3);
  const auto scaled = [](const at::Tensor& x, const at::Tensor& by) { return x.numel() == 0 ? x : x * by; };
  return {c * weight_B1H1, b * weight_B1H1, scaled(log_decay, weight_B1H), scaled(dt, weight_B1H),
          d.numel() == 0 ? d : (d * weight).sum(0)};
}

const auto& Forward() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("retort::mixing_loss", "")
                             .typed<decltype(MixingLossCpu)>();
  return op;
}

const auto& Backward() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("retort::mixing_loss_backward", "")
                             .typed<decltype(MixingLossBackwardCpu)>();
  return op;
}

const auto& OneWalk() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("retort::mixing_loss_gradients", "")
                             .typed<decltype(MixingLossGradientsCpu)>();
  return op;
}

const auto& Scale() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("retort::mixing_loss_scale", "")
                             .typed<decltype(Scaled)>();
  return op;
}

// What autograd wants of backward: the student's gradients at their inputs' places.
variable_list OutgoingGradients(const Gradients& gradients, bool log_decay, bool dt, bool d) {
  variable_list outgoing(8);
  outgoing[3] = std::get<0>(gradients);
  outgoing[4] = std::get<1>(gradients);
  if (log_decay) outgoing[5] = std::get<2>(gradients);
  if (dt) outgoing[6] = std::get<3>(gradients);
  if (d) outgoing[7] = std::get<4>(gradients);
  return outgoing;
}

class MixingLossFunction : public torch::autograd::Function<MixingLossFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& lse, const at::Tensor& c, const at::Tensor& b,
                            const OptionalTensor& log_decay, const OptionalTensor& dt,
                            const OptionalTensor& d) {
    const at::AutoDispatchBelowADInplaceOrView below;
    context->save_for_backward({q, k, lse, c, b, log_decay.value_or(at::Tensor()), dt.value_or(at::Tensor()),
                                d.value_or(at::Tensor())});
    return Forward().call(q, k, lse, c, b, log_decay, dt, d);
  }

  static variable_list backward(AutogradContext* context, const variable_list& incoming) {
    variable_list outgoing(8);
    if (!incoming[0].defined()) return outgoing;
    const variable_list x = context->get_saved_variables();
    const Gradients gradients = Backward().call(incoming[0], x[0], x[1], x[2], x[3], x[4], OptionalOf(x[5]),
                                                OptionalOf(x[6]), OptionalOf(x[7]));
    return OutgoingGradients(gradients, x[5].defined(), x[6].defined(), x[7].defined());
  }
};

// Where each head is a group: forward makes the gradients, backward scales them.
class OneWalkFunction : public torch::autograd::Function<OneWalkFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& lse, const at::Tensor& c, const at::Tensor& b,
                            const OptionalTensor& log_decay, const OptionalTensor& dt,
                            const OptionalTensor& d) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [loss, grad_c, grad_b, grad_log_decay, grad_dt, grad_d] =
        OneWalk().call(q, k, lse, c, b, log_decay, dt, d);
    context->save_for_backward({grad_c, grad_b, grad_log_decay, grad_dt, grad_d});
    context->saved_data["log_decay"] = log_decay.has_value();
    context->saved_data["dt"] = dt.has_value();
    context->saved_data["d"] = d.has_value();
    return loss;
  }

  static variable_list backward(AutogradContext* context, const variable_list& incoming) {
    if (!incoming[0].defined()) return variable_list(8);
    const variable_list x = context->get_saved_variables();
    return OutgoingGradients(Scale().call(incoming[0], x[0], x[1], x[2], x[3], x[4]),
                             context->saved_data["log_decay"].toBool(), context->saved_data["dt"].toBool(),
                             context->saved_data["d"].toBool());
  }
};

at::Tensor MixingLossAutograd(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                              const at::Tensor& c, const at::Tensor& b, const OptionalTensor& log_decay,
                              const OptionalTensor& dt, const OptionalTensor& d) {
  TORCH_CHECK(!at::GradMode::is_enabled() || !(q.requires_grad() || k.requires_grad() || lse.requires_grad()),
              "retort::mixing_loss: q, k or lse requires a gradient; the teacher is constant, detach it");
  const auto trains = [](const OptionalTensor& x) { return x.has_value() && x->requires_grad(); };
  const bool differentiates = at::GradMode::is_enabled() && (c.requires_grad() || b.requires_grad() ||
                                                             trains(log_decay) || trains(dt) || trains(d));
  if (differentiates && c.dim() == 4 && q.dim() == 4 && c.size(2) == q.size(2)) {
    return OneWalkFunction::apply(q, k, lse, c, b, log_decay, dt, d);
  }
  return MixingLossFunction::apply(q, k, lse, c, b, log_decay, dt, d);
}

class MixingLossBackwardFunction : public torch::autograd::Function<MixingLossBackwardFunction> {
 public:
  static variable_list forward(AutogradContext*, const at::Tensor& weight, const at::Tensor& q,
                               const at::Tensor& k, const at::Tensor& lse, const at::Tensor& c,
                               const at::Tensor& b, const OptionalTensor& log_decay, const OptionalTensor& dt,
                               const OptionalTensor& d) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [grad_c, grad_b, grad_log_decay, grad_dt, grad_d] =
        Backward().call(weight, q, k, lse, c, b, log_decay, dt, d);
    return {grad_c, grad_b, grad_log_decay, grad_dt, grad_d};
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK(false, "retort::mixing_loss is not differentiable twice");
  }
};

Gradients MixingLossBackwardAutograd(const at::Tensor& weight, const at::Tensor& q, const at::Tensor& k,
                                     const at::Tensor& lse, const at::Tensor& c, const at::Tensor& b,
                                     const OptionalTensor& log_decay, const OptionalTensor& dt,
                                     const OptionalTensor& d) {
  const variable_list r = MixingLossBackwardFunction::apply(weight, q, k, lse, c, b, log_decay, dt, d);
  return {r[0], r[1], r[2], r[3], r[4]};
}

LossAndGradients MixingLossGradientsAutograd(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                                             const at::Tensor& c, const at::Tensor& b,
                                             const OptionalTensor& log_decay, const OptionalTensor& dt,
                                             const OptionalTensor& d) {
  const auto trains = [](const OptionalTensor& x) { return x.has_value() && x->requires_grad(); };
  TORCH_CHECK(!at::GradMode::is_enabled() || !(trains(q) || trains(k) || trains(lse) || trains(c) ||
                                               trains(b) || trains(log_decay) || trains(dt) || trains(d)),
              "retort::mixing_loss_gradients: an argument requires a gradient, which does not flow through "
              "this op; call retort::mixing_loss, or this under no_grad");
  const at::AutoDispatchBelowADInplaceOrView below;
  return OneWalk().call(q, k, lse, c, b, log_decay, dt, d);
}

class ScaleFunction : public torch::autograd::Function<ScaleFunction> {
 public:
  static variable_list forward(AutogradContext*, const at::Tensor& weight, const at::Tensor& c,
                               const at::Tensor& b, const at::Tensor& log_decay, const at::Tensor& dt,
                               const at::Tensor& d) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [grad_c, grad_b, grad_log_decay, grad_dt, grad_d] =
        Scale().call(weight, c, b, log_decay, dt, d);
    return {grad_c, grad_b, grad_log_decay, grad_dt, grad_d};
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK(false, "retort::mixing_loss is not differentiable twice");
  }
};

Gradients ScaledAutograd(const at::Tensor& weight, const at::Tensor& c, const at::Tensor& b,
                         const at::Tensor& log_decay, const at::Tensor& dt, const at::Tensor& d) {
  const variable_list r = ScaleFunction::apply(weight, c, b, log_decay, dt, d);
  return {r[0], r[1], r[2], r[3], r[4]};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(retort, m) {
  m.def(
      "mixing_loss(Tensor q, Tensor k, Tensor lse, Tensor c, Tensor b, Tensor? log_decay, Tensor? dt, "
      "Tensor? d)"
      " -> Tensor");
  m.def(
      "mixing_loss_backward(Tensor weight, Tensor q, Tensor k, Tensor lse, Tensor c, Tensor b, Tensor? "
      "log_decay,"
      " Tensor? dt, Tensor? d) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "mixing_loss_gradients(Tensor q, Tensor k, Tensor lse, Tensor c, Tensor b, Tensor? log_decay, "
      "Tensor? dt, Tensor? d) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "mixing_loss_scale(Tensor weight, Tensor c, Tensor b, Tensor log_decay, Tensor dt, Tensor d)"
      " -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(retort, CPU, m) {
  m.impl("mixing_loss", &MixingLossCpu);
  m.impl("mixing_loss_backward", &MixingLossBackwardCpu);
  m.impl("mixing_loss_gradients", &MixingLossGradientsCpu);
  m.impl("mixing_loss_scale", &Scaled);
}

TORCH_LIBRARY_IMPL(retort, Meta, m) {
  m.impl("mixing_loss", &MixingLossMeta);
  m.impl("mixing_loss_backward", &MixingLossBackwardMeta);
  m.impl("mixing_loss_gradients", &MixingLossGradientsMeta);
  m.impl("mixing_loss_scale", &Scaled);
}

TORCH_LIBRARY_IMPL(retort, Autograd, m) {
  m.impl("mixing_loss", &MixingLossAutograd);
  m.impl("mixing_loss_backward", &MixingLossBackwardAutograd);
  m.impl("mixing_loss_gradients", &MixingLossGradientsAutograd);
  m.impl("mixing_loss_scale", &ScaledAutograd);
}

at::Tensor SquaredMixingDistance(const MixingLossInputs& x) {
  return Forward().call(x.q_BTHQ, x.k_BTKQ, x.lse_BTH, x.c_BTGN, x.b_BTGN, OptionalOf(x.log_decay_BTH),
                        OptionalOf(x.dt_BTH), OptionalOf(x.d_H));
}

bool MixingLossTakes(int64_t state_size, int64_t head_dim) {
  return MixingLossTakesStateSize(state_size) && MixingLossTakesHeadDim(head_dim);
}

at::Tensor MeanMixingDistance(const MixingLossInputs& inputs) {
  // Below the bound the gradient is 0; without it a perfect head's would be 0 * infinity.
  constexpr double kSmallest = 1e-30;
  return SquaredMixingDistance(inputs).clamp_min(kSmallest).sqrt().mean();
}

}  // namespace retort
