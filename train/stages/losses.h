// The three losses of MOHAWK (arXiv 2408.10189), in the paper's units: not squared, not divided by sizes.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/layers/attention.h"
#include "model/layers/mamba2.h"

namespace retort {

// Stage 1: mean over (batch, head) of ||student's mixing matrix - teacher's attention matrix||_F, by
// model/ops/mixing_loss, which builds neither.
at::Tensor MatrixOrientationLoss(const Mamba2MatrixParts& student, const AttentionTaps& teacher);
// The same of the matrices themselves, both [B, H, T, T]: the reference.
at::Tensor MatrixOrientationLoss(const at::Tensor& student_BHTT, const at::Tensor& teacher_BHTT);

// Stage 2: mean over (batch, token) of ||student - teacher||_2. Both [B, T, E]. Gradients flow to the student
// alone.
at::Tensor HiddenStateLoss(const at::Tensor& student_BTE, const at::Tensor& teacher_BTE);

// The head of a language model, or its gradients.
struct HeadWeights {
  at::Tensor weight_VE;
  at::Tensor bias_V;  // undefined: none
};

// What stage 3 learns from at each position; n positions. Exactly one of the two is defined.
struct HeadTargets {
  at::Tensor teacher_hidden_nE;  // normed; the labels are softmax(teacher_hidden . teacher_head)
  HeadWeights teacher_head;
  at::Tensor ids_n;  // int64: one-hot labels
};

struct HeadLoss {
  double mean;                // cross-entropy in nats per position
  at::Tensor grad_hidden_nE;  // of the mean
};

// Stage 3: mean cross-entropy of softmax(hidden . head) against the targets, with its gradients, computed for
// a few hundred positions at a time: no array of n x V exists. When the tensors of `grad_head` are defined,
// the head's gradients are added to them. A head with a bias is copied, its bias as one more column. No
// autograd inside; the caller continues with grad_hidden_nE.
HeadLoss HeadCrossEntropy(const at::Tensor& hidden_nE, const HeadWeights& head, const HeadTargets& targets,
                          const HeadWeights& grad_head);

}  // namespace retort
