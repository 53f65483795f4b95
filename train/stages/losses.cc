#include "train/stages/losses.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/base/check.h"
#include "model/layers/linear.h"
#include "model/ops/compute_path.h"
#include "model/ops/lm_head_kd.h"
#include "model/ops/mean_distance.h"
#include "model/ops/mixing_loss.h"

namespace retort {
namespace {

// 256 positions of 49,152 logits are 48 MiB a side, and enough rows for full GEMM speed.
constexpr int64_t kChunkPositions = 256;

// mean |s - t| over the rows. LibTorch's own gradient of a norm takes several passes over the rows instead of
// one.
class MeanDistance : public torch::autograd::Function<MeanDistance> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& student,
                            const at::Tensor& teacher) {
    const at::Tensor difference = student - teacher;
    const at::Tensor distances =
        at::linalg_vector_norm(difference, 2, at::IntArrayRef({-1}), /*keepdim=*/true);
    context->save_for_backward({difference, distances});
    return distances.mean();
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& incoming) {
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const at::Tensor &difference = saved[0], &distances = saved[1];
    const at::Tensor share = incoming[0] / static_cast<double>(distances.numel());
    // Where they agree there is no slope.
    const at::Tensor factor = (share / distances).masked_fill(distances == 0, 0);
    return {difference * factor, at::Tensor()};
  }
};

HeadLoss PlainCrossEntropy(const at::Tensor& hidden_nE, const HeadWeights& head, const HeadTargets& targets,
                           const HeadWeights& grad_head) {
  const int64_t positions = hidden_nE.size(0);
  HeadLoss result = {0.0, at::empty_like(hidden_nE)};
  for (int64_t begin = 0; begin < positions; begin += kChunkPositions) {
    const int64_t count = std::min(kChunkPositions, positions - begin);
    const at::Tensor hidden = hidden_nE.narrow(0, begin, count);
    at::Tensor logits = Linear(hidden, head.weight_VE, head.bias_V);
    const at::Tensor lse = logits.logsumexp(-1, /*keepdim=*/true);
    // cross-entropy = lse - sum_v label_v logit_v;  its gradient = softmax(logits) - label.
    if (targets.teacher_hidden_nE.defined()) {
      const at::Tensor labels =
          at::softmax(Linear(targets.teacher_hidden_nE.narrow(0, begin, count),
                             targets.teacher_head.weight_VE, targets.teacher_head.bias_V),
                      -1);
      result.mean += lse.sum().item<double>() - (labels * logits).sum().item<double>();
      logits.sub_(lse).exp_().sub_(labels);
    } else {
      const at::Tensor ids = targets.ids_n.narrow(0, begin, count).unsqueeze(1);
      result.mean += (lse - logits.gather(1, ids)).sum().item<double>();
      logits.sub_(lse).exp_().scatter_add_(1, ids, at::full_like(lse, -1.0).expand_as(ids));
    }
    logits.div_(static_cast<double>(positions));
    at::Tensor grad = result.grad_hidden_nE.narrow(0, begin, count);
    at::mm_out(grad, logits, head.weight_VE);
    if (grad_head.weight_VE.defined()) grad_head.weight_VE.addmm_(logits.t(), hidden);
    if (grad_head.bias_V.defined()) grad_head.bias_V.add_(logits.sum(0));
  }
  result.mean /= static_cast<double>(positions);
  return result;
}

}  // namespace

at::Tensor MatrixOrientationLoss(const Mamba2MatrixParts& student, const AttentionTaps& teacher) {
  if (!KernelsTake(student.b_BTGN) || !MixingLossTakes(student.b_BTGN.size(-1), teacher.q_BHTD.size(-1))) {
    return MatrixOrientationLoss(Mamba2Matrix(student), AttentionMatrix(teacher));
  }
  return MeanMixingDistance({teacher.q_BHTD.transpose(1, 2), teacher.k_BKTD.transpose(1, 2),
                             teacher.lse_BHT.transpose(1, 2), student.c_BTGN, student.b_BTGN,
                             student.log_decay_BTH, student.dt_BTH, student.d_H});
}

at::Tensor MatrixOrientationLoss(const at::Tensor& student_BHTT, const at::Tensor& teacher_BHTT) {
  return at::linalg_vector_norm(student_BHTT - teacher_BHTT, 2, at::IntArrayRef({-2, -1})).mean();
}

at::Tensor HiddenStateLoss(const at::Tensor& student_BTE, const at::Tensor& teacher_BTE) {
  return KernelsTake(student_BTE) ? FusedMeanDistance(student_BTE, teacher_BTE)
                                  : MeanDistance::apply(student_BTE, teacher_BTE);
}

HeadLoss HeadCrossEntropy(const at::Tensor& hidden_nE, const HeadWeights& head, const HeadTargets& targets,
                          const HeadWeights& grad_head) {
  const c10::NoGradGuard no_grad;
  RETORT_CHECK(targets.teacher_hidden_nE.defined() != targets.ids_n.defined())
      << "one kind of label, not both or none";
  if (!KernelsTake(hidden_nE)) return PlainCrossEntropy(hidden_nE, head, targets, grad_head);
  const bool biased = head.bias_V.defined(), trains = grad_head.weight_VE.defined();
  const auto widened = [](const at::Tensor& hidden) {
    return at::cat({hidden, hidden.new_ones({hidden.size(0), 1})}, 1);
  };
  const auto joined = [](const HeadWeights& weights) {
    return at::cat({weights.weight_VE, weights.bias_V.unsqueeze(1)}, 1);
  };
  LmHeadLabels labels = {targets.teacher_hidden_nE, targets.teacher_head.weight_VE, targets.ids_n};
  if (targets.teacher_head.bias_V.defined()) {
    labels.teacher_hidden_nE = widened(targets.teacher_hidden_nE);
    labels.teacher_head_VE = joined(targets.teacher_head);
  }
  if (!biased) {
    const LmHeadKdGradient fused =
        LmHeadKdGradients(hidden_nE, head.weight_VE, labels, LmHeadKdOptions{}, grad_head.weight_VE);
    return {fused.loss.item<double>(), fused.grad_hidden_nE};
  }
  const int64_t width = hidden_nE.size(1);
  const at::Tensor joined_head = joined(head);
  const at::Tensor grad = trains ? at::zeros_like(joined_head) : at::Tensor();
  const LmHeadKdGradient fused =
      LmHeadKdGradients(widened(hidden_nE), joined_head, labels, LmHeadKdOptions{}, grad);
  if (trains) {
    grad_head.weight_VE.add_(grad.narrow(1, 0, width));
    grad_head.bias_V.add_(grad.select(1, width));
  }
  return {fused.loss.item<double>(), fused.grad_hidden_nE.narrow(1, 0, width).contiguous()};
}

}  // namespace retort
