#include "tests/bench/step_gemms.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace retort {

StepGemms::StepGemms(const StagePlan& plan, const LanguageModel& teacher, const LanguageModel& student)
    : tokens_(plan.seq_len) {
  const c10::NoGradGuard no_grad;
  TeacherBlocks(plan, teacher);
  StudentBlocks(plan, student);
  if (plan.stage != Stage::kEndToEnd) return;
  Forward(teacher.head_VE);
  Student(student.head_VE, /*input_trains=*/true);
}

void StepGemms::Run() {
  const c10::NoGradGuard no_grad;
  for (Gemm& gemm : gemms_) at::mm_out(gemm.out, gemm.left, gemm.right);
}

double StepGemms::flops() const {
  double flops = 0;
  for (const Gemm& gemm : gemms_) {
    flops += 2.0 * static_cast<double>(gemm.left.size(0) * gemm.left.size(1) * gemm.right.size(1));
  }
  return flops;
}

at::Tensor StepGemms::OfWidth(std::vector<at::Tensor>& tensors, int64_t width) const {
  for (const at::Tensor& tensor : tensors) {
    if (tensor.size(1) == width) return tensor;
  }
  tensors.push_back(at::randn({tokens_, width}));
  return tensors.back();
}

void StepGemms::Forward(const at::Tensor& weight) {
  gemms_.push_back({Output(weight.size(0)), Input(weight.size(1)), weight.detach().t()});
}

void StepGemms::WeightGradient(const at::Tensor& weight) {
  gemms_.push_back({at::zeros(weight.sizes()), Input(weight.size(0)).t(), Input(weight.size(1))});
}

void StepGemms::InputGradient(const at::Tensor& weight) {
  gemms_.push_back({Output(weight.size(1)), Input(weight.size(0)), weight.detach()});
}

void StepGemms::Student(const at::Tensor& weight, bool input_trains) {
  Forward(weight);
  if (input_trains) InputGradient(weight);
  if (weight.requires_grad()) WeightGradient(weight);
}

void StepGemms::TeacherBlocks(const StagePlan& plan, const LanguageModel& teacher) {
  for (const BlockWeights& block : teacher.blocks) {
    const auto& attention = std::get<AttentionWeights>(block.mixer);
    for (const at::Tensor& weight : {attention.q_proj, attention.k_proj}) Forward(weight);
    // A last layer from which stage 1 wants its matrix alone has no more to do.
    if (plan.stage == Stage::kMatrixOrientation && &block == &teacher.blocks.back()) return;
    for (const at::Tensor& weight :
         {attention.v_proj, attention.o_proj, block.mlp.gate_proj, block.mlp.up_proj, block.mlp.down_proj}) {
      Forward(weight);
    }
  }
}

void StepGemms::StudentBlocks(const StagePlan& plan, const LanguageModel& student) {
  for (const BlockWeights& block : student.blocks) {
    const auto& mixer = std::get<Mamba2Weights>(block.mixer);
    const bool first = &block == &student.blocks.front();
    const bool input_trains =
        plan.stage == Stage::kEndToEnd && (!first || student.embedding_VE.requires_grad());
    for (const at::Tensor& weight : {mixer.b_proj, mixer.c_proj, mixer.dt_proj}) {
      Student(weight, input_trains);
    }
    if (plan.stage == Stage::kMatrixOrientation) continue;
    for (const at::Tensor& weight : {mixer.x_proj, mixer.z_proj}) Student(weight, input_trains);
    Student(mixer.out_proj, /*input_trains=*/true);
    if (plan.stage == Stage::kHiddenStateAlignment && plan.target == v1::ALIGNMENT_TARGET_MIXER) continue;
    for (const at::Tensor& weight : {block.mlp.gate_proj, block.mlp.up_proj, block.mlp.down_proj}) {
      Student(weight, /*input_trains=*/true);
    }
  }
}

}  // namespace retort
