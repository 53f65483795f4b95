// Stage 3's loss through the language-model heads, by kernels/lm_head_kd (which states the equations): tokens
// are taken a chunk at a time, so the logits of all tokens never exist, and tokens that the mask leaves out
// cost nothing. Operators retort::lm_head_kd, _gradients and _backward for float32 on CPUs, and Meta tensors
// for shapes. Workspace: at most 64 MiB, whatever the number of tokens (more only for vocabularies above
// 400,000), and copies of heads whose columns do not lie side by side.
// n tokens, V vocabulary, E hidden width; the teacher's width may differ. A token's gradient does not depend
// on other tokens, and no bits on the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/lm_head_kd/lm_head_kd.h"

namespace retort {

// What the labels are: softmax(teacher_hidden . teacher_head / temperature), or tokens. Exactly one of the
// two is defined. The teacher is constant.
struct LmHeadLabels {
  at::Tensor teacher_hidden_nE, teacher_head_VE;
  at::Tensor ids_n;  // int64
};

struct LmHeadKdOptions {
  LmHeadKdLoss loss = LmHeadKdLoss::kCrossEntropy;  // kDivergence needs a teacher
  double temperature = 1;                           // no factor of temperature^2 is applied
  at::Tensor mask_n;  // bool, false where a token counts for nothing; undefined: all count
};

// The mean over the tokens that count, in nats, as a float64 scalar; 0 if none counts. Gradients flow to
// hidden and head, once (not twice); they are computed with the loss and kept until the backward pass.
// Throws c10::Error naming the argument that does not fit.
at::Tensor LmHeadKd(const at::Tensor& hidden_nE, const at::Tensor& head_VE, const LmHeadLabels& labels,
                    const LmHeadKdOptions& options);

struct LmHeadKdGradient {
  at::Tensor loss;            // float64 scalar
  at::Tensor grad_hidden_nE;  // of the mean
};

// The same without autograd, for a training loop that keeps its own sums: when `grad_head_VE` is defined, the
// head's gradient is added to it.
LmHeadKdGradient LmHeadKdGradients(const at::Tensor& hidden_nE, const at::Tensor& head_VE,
                                   const LmHeadLabels& labels, const LmHeadKdOptions& options,
                                   const at::Tensor& grad_head_VE);

}  // namespace retort
