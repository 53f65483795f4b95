// The matrix products of a training step with their matrices alone: what the step would cost if all else
// were free. Listed from the models: each projection forward, its weight's gradient where the stage trains
// it, its input's gradient where autograd needs one; the MLPs; the heads. The products inside attention, the
// scan and stage 1's loss are not counted.
#pragma once

#include <vector>

#include "model/lm/language_model.h"
#include "train/stages/stage_plan.h"

namespace retort {

class StepGemms {
 public:
  // For one sequence of plan.seq_len tokens. Every layer of `student` is converted, and its tensors have
  // requires_grad as the stage sets it.
  StepGemms(const StagePlan& plan, const LanguageModel& teacher, const LanguageModel& student);

  void Run();
  double flops() const;

 private:
  struct Gemm {
    at::Tensor out, left, right;
  };

  void Forward(const at::Tensor& weight);
  void WeightGradient(const at::Tensor& weight);
  void InputGradient(const at::Tensor& weight);
  // All of a student's projection; its input's gradient only if something before it trains.
  void Student(const at::Tensor& weight, bool input_trains);
  void TeacherBlocks(const StagePlan& plan, const LanguageModel& teacher);
  void StudentBlocks(const StagePlan& plan, const LanguageModel& student);

  at::Tensor OfWidth(std::vector<at::Tensor>& tensors, int64_t width) const;
  at::Tensor Input(int64_t width) { return OfWidth(inputs_, width); }
  at::Tensor Output(int64_t width) { return OfWidth(outputs_, width); }

  int64_t tokens_;
  // One [tokens, width] of each width, so warm in the cache: the products at their best.
  std::vector<at::Tensor> inputs_, outputs_;
  std::vector<Gemm> gemms_;
};

}  // namespace retort
