#include "model/ops/attention.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include "kernels/attention/attention.h"
#include "model/ops/arguments.h"
#include "model/ops/executor.h"

namespace retort {
namespace {

using Outputs = std::tuple<at::Tensor, at::Tensor>;  // y [B, H, T, D], lse [B, H, T]

AttentionKernelShape CheckedShape(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  constexpr const char* kOp = "attention";
  CheckRank(kOp, "q", q, "[B, H, T, D]", 4);
  CheckRank(kOp, "k", k, "[B, K, T, D]", 4);
  const AttentionKernelShape s = {q.size(0), q.size(2), q.size(1), k.size(1), q.size(3)};
  TORCH_CHECK(s.key_heads > 0 && s.heads % s.key_heads == 0, "retort::attention: k is ", k.sizes(),
              "; it must be [B, K, T, D] with K a divisor of H = ", s.heads);
  TORCH_CHECK(AttentionTakes(s.width), "retort::attention: q has rows of ", s.width,
              "; they must be a multiple of ", kAttentionWidthGranule, ", at most ", kAttentionMaxWidth);
  CheckFloats(kOp, "q", q, "[B, H, T, D]", q.sizes(), q.device());
  CheckFloats(kOp, "k", k, "[B, K, T, D]", {s.batch, s.key_heads, s.tokens, s.width}, q.device());
  CheckFloats(kOp, "v", v, "[B, K, T, D]", {s.batch, s.key_heads, s.tokens, s.width}, q.device());
  CheckInnermost(kOp, "q", q);
  CheckInnermost(kOp, "k", k);
  CheckInnermost(kOp, "v", v);
  return s;
}

AttentionRows Rows(const at::Tensor& x_BHTD) {
  return {x_BHTD.const_data_ptr<float>(), x_BHTD.stride(0), x_BHTD.stride(2), x_BHTD.stride(1)};
}

Outputs EmptyOutputs(const AttentionKernelShape& s, const at::Tensor& q) {
  return {at::empty({s.batch, s.tokens, s.heads, s.width}, q.options()).transpose(1, 2),
          at::empty({s.batch, s.heads, s.tokens}, q.options())};
}

Outputs AttentionCpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const AttentionKernelShape shape = CheckedShape(q, k, v);
  Outputs outputs = EmptyOutputs(shape, q);
  CausalAttention({shape, Rows(q), Rows(k), Rows(v), std::get<0>(outputs).mutable_data_ptr<float>(),
                   std::get<1>(outputs).mutable_data_ptr<float>()},
                  TorchExecutor(), ActiveInstructionSet());
  return outputs;
}

Outputs AttentionMeta(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return EmptyOutputs(CheckedShape(q, k, v), q);
}

const auto& Handle() {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("retort::attention", "").typed<decltype(AttentionCpu)>();
  return op;
}

Outputs AttentionAutograd(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const bool wants_gradient =
      at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  TORCH_CHECK_NOT_IMPLEMENTED(!wants_gradient,
                              "retort::attention has no gradient: call it under no_grad; what trains takes "
                              "LibTorch's flash attention");
  const at::AutoDispatchBelowADInplaceOrView below;
  return Handle().call(q, k, v);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(retort, m) { m.def("attention(Tensor q, Tensor k, Tensor v) -> (Tensor, Tensor)"); }

TORCH_LIBRARY_IMPL(retort, CPU, m) { m.impl("attention", &AttentionCpu); }

TORCH_LIBRARY_IMPL(retort, Meta, m) { m.impl("attention", &AttentionMeta); }

TORCH_LIBRARY_IMPL(retort, Autograd, m) { m.impl("attention", &AttentionAutograd); }

bool AttentionTakes(int64_t head_dim) { return AttentionKernelTakes(head_dim); }

std::tuple<at::Tensor, at::Tensor> CausalAttention(const at::Tensor& q_BHTD, const at::Tensor& k_BKTD,
                                                   const at::Tensor& v_BKTD) {
  return Handle().call(q_BHTD, k_BKTD, v_BKTD);
}

}  // namespace retort
