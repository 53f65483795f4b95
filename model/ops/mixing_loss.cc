#include "model/ops/mixing_loss.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>

#include "kernels/mixing_loss/mixing_loss.h"
#include "model/ops/executor.h"

namespace retort {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using OptionalTensor = std::optional<at::Tensor>;

// S [B, H], and its gradients for c and b [B, H, T, N], log_decay and dt [B, H, T], d [B, H]; those of absent
// inputs are empty.
using Results = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;
using Gradients = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

void CheckArgument(const at::Tensor& tensor, const char* name, const char* letters, at::IntArrayRef sizes,
                   bool unit_last_stride, at::Device device) {
  TORCH_CHECK(tensor.scalar_type() == at::kFloat && tensor.device() == device, "retort::mixing_loss: ", name,
              " is ", tensor.scalar_type(), " on ", tensor.device(), "; it must be float32 on ", device);
  TORCH_CHECK(tensor.sizes() == sizes, "retort::mixing_loss: ", name, " is ", tensor.sizes(), "; beside q ",
              "and c it must be ", letters, " = ", sizes);
  TORCH_CHECK(!unit_last_stride || tensor.size(-1) <= 1 || tensor.stride(-1) == 1,
              "retort::mixing_loss: ", name, "'s last dimension has stride ", tensor.stride(-1),
              "; it must be contiguous");
}

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
  const at::Device device = q.device();
  const std::initializer_list<int64_t> per_head = {s.batch, s.tokens, s.heads};
  CheckArgument(q, "q", "[B, T, H, Q]", q.sizes(), true, device);
  CheckArgument(k, "k", "[B, T, K, Q]", {s.batch, s.tokens, s.key_heads, s.head_dim}, true, device);
  CheckArgument(lse, "lse", "[B, T, H]", per_head, false, device);
  CheckArgument(c, "c", "[B, T, G, N]", {s.batch, s.tokens, s.groups, s.state_size}, true, device);
  CheckArgument(b, "b", "[B, T, G, N]", c.sizes(), true, device);
  if (log_decay) CheckArgument(*log_decay, "log_decay", "[B, T, H]", per_head, false, device);
  if (dt) CheckArgument(*dt, "dt", "[B, T, H]", per_head, false, device);
  if (d) CheckArgument(*d, "d", "[H]", {s.heads}, false, device);
  return s;
}

Results EmptyResults(const MixingLossShape& s, const at::Tensor& like, bool log_decay, bool dt, bool d) {
  const auto empty = [&](bool there, at::IntArrayRef sizes) {
    return at::empty(there ? sizes : at::IntArrayRef({0}), like.options());
  };
  const at::Tensor grad_c = empty(true, {s.batch, s.heads, s.tokens, s.state_size});
  return {empty(true, {s.batch, s.heads}),
          grad_c,
          at::empty_like(grad_c),
          empty(log_decay, {s.batch, s.heads, s.tokens}),
          empty(dt, {s.batch, s.heads, s.tokens}),
          empty(d, {s.batch, s.heads})};
}

HeadRows<float> Rows(const at::Tensor& x_BTHn) {
  return {x_BTHn.const_data_ptr<float>(), x_BTHn.stride(0), x_BTHn.stride(1), x_BTHn.stride(2)};
}

Results MixingLossCpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse, const at::Tensor& c,
                      const at::Tensor& b, const OptionalTensor& log_decay, const OptionalTensor& dt,
                      const OptionalTensor& d) {
  MixingLossArgs<float> args;
  args.shape = CheckedShape(q, k, lse, c, b, log_decay, dt, d);
  if (log_decay && log_decay->numel() > 0) {
    const float most = log_decay->max().item<float>();
    TORCH_CHECK(!(most > 0.0f), "retort::mixing_loss: log_decay has an element ", most, "; it must be <= 0");
  }
  const Results results = EmptyResults(args.shape, q, log_decay.has_value(), dt.has_value(), d.has_value());
  args.q_BTHQ = Rows(q);
  args.k_BTKQ = Rows(k);
  args.lse_BTH = Rows(lse);
  args.c_BTGN = Rows(c);
  args.b_BTGN = Rows(b);
  args.loss_BH = std::get<0>(results).mutable_data_ptr<float>();
  args.grad_c_BHTN = std::get<1>(results).mutable_data_ptr<float>();
  args.grad_b_BHTN = std::get<2>(results).mutable_data_ptr<float>();
  if (log_decay) {
    args.log_decay_BTH = Rows(*log_decay);
    args.grad_log_decay_BHT = std::get<3>(results).mutable_data_ptr<float>();
  }
  if (dt) {
    args.dt_BTH = Rows(*dt);
    args.grad_dt_BHT = std::get<4>(results).mutable_data_ptr<float>();
  }
  const at::Tensor d_H = d ? d->contiguous() : at::Tensor();
  if (d) {
    args.d_H = d_H.const_data_ptr<float>();
    args.grad_d_BH = std::get<5>(results).mutable_data_ptr<float>();
  }
  MixingLoss(args, ActiveInstructionSet(), TorchExecutor());
  return results;
}

Results MixingLossMeta(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse, const at::Tensor& c,
                       const at::Tensor& b, const OptionalTensor& log_decay, const OptionalTensor& dt,
                       const OptionalTensor& d) {
  return EmptyResults(CheckedShape(q, k, lse, c, b, log_decay, dt, d), q, log_decay.has_value(),
                      dt.has_value(), d.has_value());
}

// The gradients of sum_bh weight_bh S_bh, in the inputs' shapes. Any device.
Gradients MixingLossBackward(const at::Tensor& weight_BH, const at::Tensor& grad_c_BHTN,
                             const at::Tensor& grad_b_BHTN, const at::Tensor& grad_log_decay_BHT,
                             const at::Tensor& grad_dt_BHT, const at::Tensor& grad_d_BH, int64_t groups) {
  const at::Tensor weight = weight_BH.contiguous();
  const int64_t batch = grad_c_BHTN.size(0), heads = grad_c_BHTN.size(1);
  TORCH_CHECK(weight.sizes() == at::IntArrayRef({batch, heads}), "retort::mixing_loss_backward: weight is ",
              weight.sizes(), "; it must be [B, H] = ", at::IntArrayRef({batch, heads}));
  const int64_t shared = heads / groups;
  // A sum over the heads of a group, as a product with a row of weights: no weighted copy.
  const auto over_groups = [&](const at::Tensor& grad_BHTN) {
    const int64_t tokens = grad_BHTN.size(2), state_size = grad_BHTN.size(3);
    return at::bmm(weight.view({batch * groups, 1, shared}),
                   grad_BHTN.view({batch * groups, shared, tokens * state_size}))
        .view({batch, groups, tokens, state_size})
        .transpose(1, 2);
  };
  const auto per_head = [&](const at::Tensor& grad_BHT) {
    return grad_BHT.dim() == 1 ? grad_BHT : (grad_BHT * weight.unsqueeze(-1)).transpose(1, 2);
  };
  return {over_groups(grad_c_BHTN), over_groups(grad_b_BHTN), per_head(grad_log_decay_BHT),
          per_head(grad_dt_BHT), grad_d_BH.dim() == 1 ? grad_d_BH : (grad_d_BH * weight).sum(0)};
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
                             .typed<decltype(MixingLossBackward)>();
  return op;
}

class MixingLossFunction : public torch::autograd::Function<MixingLossFunction> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                               const at::Tensor& lse, const at::Tensor& c, const at::Tensor& b,
                               const OptionalTensor& log_decay, const OptionalTensor& dt,
                               const OptionalTensor& d) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [loss, grad_c, grad_b, grad_log_decay, grad_dt, grad_d] =
        Forward().call(q, k, lse, c, b, log_decay, dt, d);
    const variable_list gradients = {grad_c, grad_b, grad_log_decay, grad_dt, grad_d};
    context->mark_non_differentiable(gradients);
    context->save_for_backward(gradients);
    context->saved_data["groups"] = c.size(2);
    return {loss, grad_c, grad_b, grad_log_decay, grad_dt, grad_d};
  }

  static variable_list backward(AutogradContext* context, const variable_list& incoming) {
    variable_list outgoing(8);
    if (!incoming[0].defined()) return outgoing;
    const variable_list saved = context->get_saved_variables();
    auto [c, b, log_decay, dt, d] = Backward().call(incoming[0], saved[0], saved[1], saved[2], saved[3],
                                                    saved[4], context->saved_data["groups"].toInt());
    outgoing[3] = c;
    outgoing[4] = b;
    const auto there = [](const at::Tensor& per_head, const at::Tensor& gradient) {
      return per_head.dim() == 1 ? at::Tensor() : gradient;
    };
    outgoing[5] = there(saved[2], log_decay);
    outgoing[6] = there(saved[3], dt);
    outgoing[7] = there(saved[4], d);
    return outgoing;
  }
};

Results MixingLossAutograd(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                           const at::Tensor& c, const at::Tensor& b, const OptionalTensor& log_decay,
                           const OptionalTensor& dt, const OptionalTensor& d) {
  TORCH_CHECK(!at::GradMode::is_enabled() || !(q.requires_grad() || k.requires_grad() || lse.requires_grad()),
              "retort::mixing_loss: q, k or lse requires a gradient; the teacher is constant, detach it");
  const variable_list r = MixingLossFunction::apply(q, k, lse, c, b, log_decay, dt, d);
  return {r[0], r[1], r[2], r[3], r[4], r[5]};
}

class MixingLossBackwardFunction : public torch::autograd::Function<MixingLossBackwardFunction> {
 public:
  static variable_list forward(AutogradContext*, const at::Tensor& weight, const at::Tensor& grad_c,
                               const at::Tensor& grad_b, const at::Tensor& grad_log_decay,
                               const at::Tensor& grad_dt, const at::Tensor& grad_d, int64_t groups) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [c, b, log_decay, dt, d] =
        Backward().call(weight, grad_c, grad_b, grad_log_decay, grad_dt, grad_d, groups);
    return {c, b, log_decay, dt, d};
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK(false, "retort::mixing_loss is not differentiable twice");
  }
};

Gradients MixingLossBackwardAutograd(const at::Tensor& weight, const at::Tensor& grad_c,
                                     const at::Tensor& grad_b, const at::Tensor& grad_log_decay,
                                     const at::Tensor& grad_dt, const at::Tensor& grad_d, int64_t groups) {
  const variable_list r =
      MixingLossBackwardFunction::apply(weight, grad_c, grad_b, grad_log_decay, grad_dt, grad_d, groups);
  return {r[0], r[1], r[2], r[3], r[4]};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(retort, m) {
  m.def(
      "mixing_loss(Tensor q, Tensor k, Tensor lse, Tensor c, Tensor b, Tensor? log_decay, Tensor? dt, "
      "Tensor? d)"
      " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "mixing_loss_backward(Tensor weight, Tensor grad_c, Tensor grad_b, Tensor grad_log_decay, Tensor "
      "grad_dt,"
      " Tensor grad_d, int groups) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(retort, CPU, m) {
  m.impl("mixing_loss", &MixingLossCpu);
  m.impl("mixing_loss_backward", &MixingLossBackward);
}

TORCH_LIBRARY_IMPL(retort, Meta, m) {
  m.impl("mixing_loss", &MixingLossMeta);
  m.impl("mixing_loss_backward", &MixingLossBackward);
}

TORCH_LIBRARY_IMPL(retort, Autograd, m) {
  m.impl("mixing_loss", &MixingLossAutograd);
  m.impl("mixing_loss_backward", &MixingLossBackwardAutograd);
}

at::Tensor SquaredMixingDistance(const MixingLossInputs& inputs) {
  const auto optional = [](const at::Tensor& x) { return x.defined() ? OptionalTensor(x) : std::nullopt; };
  return std::get<0>(Forward().call(inputs.q_BTHQ, inputs.k_BTKQ, inputs.lse_BTH, inputs.c_BTGN,
                                    inputs.b_BTGN, optional(inputs.log_decay_BTH), optional(inputs.dt_BTH),
                                    optional(inputs.d_H)));
}

at::Tensor MeanMixingDistance(const MixingLossInputs& inputs) {
  // Below the bound the gradient is 0; without it a perfect head's would be 0 * infinity.
  constexpr double kSmallest = 1e-30;
  return SquaredMixingDistance(inputs).clamp_min(kSmallest).sqrt().mean();
}

}  // namespace retort
