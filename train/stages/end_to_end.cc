#include "train/stages/end_to_end.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/status_macros.h"
#include "model/lm/torch_seam.h"
#include "train/optim/schedule.h"
#include "train/stages/checkpointed_block.h"
#include "train/stages/guards.h"
#include "train/stages/losses.h"
#include "train/stages/slice.h"

namespace retort {
namespace {

constexpr double kClipNorm = 1.0;

void OwnSharedTensors(const LanguageModel& teacher, LanguageModel& student) {
  const auto shared = TensorMemory(teacher);
  for (const auto& tensor : ModelTensors(student)) {
    if (shared.count(tensor.value->data_ptr()) != 0) *tensor.value = tensor.value->clone();
  }
  if (student.config.tied_head) student.head_VE = student.embedding_VE;
}

int64_t FirstOwnLayer(const LanguageModel& teacher, const LanguageModel& student) {
  if (!student.embedding_VE.is_same(teacher.embedding_VE)) return 0;
  int64_t layer = 0;
  while (SharesBlock(student, teacher, layer)) ++layer;
  return layer;
}

// What backward passes have left there, or zeros.
at::Tensor GradientOf(const at::Tensor& value) {
  at::Tensor& gradient = value.mutable_grad();
  if (!gradient.defined()) gradient = at::zeros_like(value);
  return gradient;
}

}  // namespace

std::vector<Trainable> EndToEndTrainables(v1::TrainScope scope, LanguageModel& student) {
  std::vector<Trainable> trainables;
  for (const auto& tensor : ModelTensors(student)) {
    if (scope == v1::TRAIN_SCOPE_ALL || tensor.of_student_mixer) {
      trainables.push_back({tensor.name, *tensor.value, tensor.is_matrix});
    }
  }
  return trainables;
}

EndToEnd::EndToEnd(const StagePlan& plan, const LanguageModel& teacher, LanguageModel& student,
                   const Batches& batches)
    : plan_(plan), passes_(plan), teacher_(teacher), student_(student), batches_(batches) {
  if (plan.scope == v1::TRAIN_SCOPE_ALL) OwnSharedTensors(teacher, student);
  first_own_layer_ = FirstOwnLayer(teacher, student);
  for (BlockWeights& block : student.blocks) {
    if (auto* const mixer = std::get_if<Mamba2Weights>(&block.mixer)) JoinProjections(*mixer);
  }
  optimizer_ = std::make_unique<AdamW>(EndToEndTrainables(plan.scope, student));
  for (const Trainable& trainable : optimizer_->trainables()) trainable.value.requires_grad_(true);
}

EndToEnd::~EndToEnd() {
  Join(nullptr);
  for (const Trainable& trainable : optimizer_->trainables()) {
    trainable.value.mutable_grad().reset();
    trainable.value.requires_grad_(false);
  }
}

bool EndToEnd::IsOutsideAutograd(const at::Tensor& value) const {
  return value.is_same(student_.embedding_VE) || value.is_same(student_.head_VE) ||
         (student_.head_bias_V.defined() && value.is_same(student_.head_bias_V));
}

void EndToEnd::Join(RankGroup* group) {
  reducer_.reset();
  group_ = group;
  optimizer_->set_keeps_gradient_memory(false);
  optimizer_->ClearGradients();
  passes_ = SharedOut(plan_, group == nullptr ? 1 : group->world_size());
  if (group == nullptr) return;
  std::vector<at::Tensor> reduced;
  for (const Trainable& trainable : optimizer_->trainables()) {
    if (!IsOutsideAutograd(trainable.value)) reduced.push_back(trainable.value);
  }
  reducer_ = std::make_unique<GradientReducer>(*group, reduced);
  optimizer_->set_keeps_gradient_memory(true);
}

absl::StatusOr<double> EndToEnd::Step(int64_t step, const std::atomic<bool>& stop, Ballot ballot) {
  verdict_ = Ballot::kApply;
  absl::StatusOr<double> loss = Accumulate(step, stop);
  if (loss.ok() && group_ != nullptr) {
    const absl::StatusOr<Ballot> verdict = group_->Vote(ballot);
    if (verdict.ok()) {
      verdict_ = *verdict;
    } else {
      loss = verdict.status();
    }
  }
  if (!loss.ok()) {
    optimizer_->ClearGradients();
    return loss;
  }
  optimizer_->Step(WsdRate(step, plan_.steps, plan_.lr));
  return loss;
}

absl::Status EndToEnd::SumOverRanks(double& loss) {
  for (const Trainable& trainable : optimizer_->trainables()) {
    if (!IsOutsideAutograd(trainable.value)) continue;
    at::Tensor gradient = GradientOf(trainable.value);
    RETURN_IF_ERROR(group_->Sum(gradient));
  }
  at::Tensor sum = at::full({1}, loss, at::kDouble);
  RETURN_IF_ERROR(group_->Sum(sum));
  loss = sum.item<double>();
  return absl::OkStatus();
}

absl::StatusOr<double> EndToEnd::Accumulate(int64_t step, const std::atomic<bool>& stop) {
  const std::string doing = absl::StrCat(StageName(plan_.stage), ", step ", step + 1);
  const int64_t ranks = group_ == nullptr ? 1 : group_->world_size();
  const int64_t rank = group_ == nullptr ? 0 : group_->rank();
  const int64_t end = (rank + 1) * passes_.micro_batches / ranks;
  double sum = 0.0;
  for (int64_t pass = rank * passes_.micro_batches / ranks; pass < end; ++pass) {
    if (stop.load()) return absl::CancelledError("training stopped");
    const absl::StatusOr<double> loss = CatchTorch(doing, [&] {
      if (reducer_ != nullptr && pass + 1 == end) reducer_->ExpectLastPass();
      return AccumulatePass(step, pass);
    });
    if (!loss.ok() && reducer_ != nullptr && reducer_->has_failed()) {
      return absl::UnavailableError(loss.status().message());
    }
    RETURN_IF_ERROR(loss.status());
    sum += *loss;
  }
  if (group_ != nullptr) RETURN_IF_ERROR(CatchTorch(doing, [&] { return SumOverRanks(sum); }));
  if (step == 0) RETURN_IF_ERROR(CheckGradients(plan_.stage, step, "student", optimizer_->trainables()));
  const double norm = optimizer_->ClipGradients(kClipNorm, 1.0 / static_cast<double>(passes_.micro_batches));
  if (!std::isfinite(norm)) {
    return absl::InternalError(absl::StrCat(doing, ", student: the gradient's norm is ", norm,
                                            "; training stopped. Lower this stage's lr and begin "
                                            "anew with another --out, or look at the data"));
  }
  return sum / static_cast<double>(passes_.micro_batches);
}

absl::StatusOr<double> EndToEnd::AccumulatePass(int64_t step, int64_t pass) {
  ASSIGN_OR_RETURN(const at::Tensor ids_BT,
                   ReadMicroBatch(passes_, batches_, passes_.first_sequence(step, pass)));
  const int64_t layers = teacher_.config.num_layers();
  const RotaryTable rotary = RotaryFor(teacher_, plan_.seq_len);
  HeadTargets targets;
  at::Tensor student_hidden;
  {
    const c10::NoGradGuard no_grad;
    at::Tensor hidden = Embed(teacher_, ids_BT);
    const bool soft = plan_.labels == v1::LABELS_TEACHER;
    for (int64_t l = 0; l < (soft ? layers : first_own_layer_); ++l) {
      if (l == first_own_layer_) student_hidden = hidden;
      hidden = RunBlock(teacher_, l, hidden, rotary, nullptr);
    }
    if (soft) {
      targets.teacher_hidden_nE = FinalNorm(teacher_, hidden).flatten(0, 1);
      targets.teacher_head = {teacher_.head_VE, teacher_.head_bias_V};
    } else {
      student_hidden = hidden;
      targets.ids_n = ids_BT.narrow(1, 1, plan_.seq_len - 1).flatten();
    }
  }
  // Embedding and head stay outside of autograd, which would make an array of their size for each: what a
  // pass adds to their gradients goes straight there.
  const bool embedding_trains = student_.embedding_VE.requires_grad();
  at::Tensor embedded;
  if (first_own_layer_ == 0) {
    const c10::NoGradGuard no_grad;
    student_hidden = Embed(student_, ids_BT);
    embedded = student_hidden;
  }
  if (embedding_trains) embedded.requires_grad_(true);
  for (int64_t l = first_own_layer_; l < layers; ++l) {
    student_hidden = plan_.activation_checkpointing
                         ? RunBlockCheckpointed(student_, l, student_hidden, rotary)
                         : RunBlock(student_, l, student_hidden, rotary, nullptr);
  }
  at::Tensor normed = FinalNorm(student_, student_hidden);
  if (targets.ids_n.defined())
    normed = normed.narrow(1, 0, plan_.seq_len - 1);  // the last token has no label
  normed = normed.flatten(0, 1);

  const bool biased = student_.head_bias_V.defined();
  const HeadWeights head = {student_.head_VE.detach(), biased ? student_.head_bias_V.detach() : at::Tensor()};
  HeadWeights grad_head;
  if (student_.head_VE.requires_grad()) {
    grad_head.weight_VE = GradientOf(student_.head_VE);
    if (biased) grad_head.bias_V = GradientOf(student_.head_bias_V);
  }
  const HeadLoss loss = HeadCrossEntropy(normed.detach(), head, targets, grad_head);
  RETURN_IF_ERROR(CheckLoss(plan_.stage, step, "student", loss.mean, student_.config.vocab_size));
  normed.backward(loss.grad_hidden_nE);
  if (embedding_trains) {
    const c10::NoGradGuard no_grad;
    GradientOf(student_.embedding_VE).index_add_(0, ids_BT.flatten(), embedded.grad().flatten(0, 1));
  }
  return loss.mean;
}

}  // namespace retort
