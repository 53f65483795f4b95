// Free-running agreement: what is left of the teacher's text when the student writes on its own.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>

#include "absl/status/statusor.h"
#include "model/lm/language_model.h"
#include "retort/v1/job.pb.h"
#include "train/eval/evaluate.h"

namespace retort {

// Fixed prompts and how the teacher continues each, greedily.
struct FreeRunningReference {
  at::Tensor prompts_BT;        // int64
  at::Tensor continuations_BS;  // int64
};

// The first `prompt_tokens` of the first `prompts` windows that are long enough. Undefined tensors when there
// is no such window. CANCELLED soon after `stop` is set, as below.
absl::StatusOr<FreeRunningReference> MakeFreeRunningReference(const LanguageModel& teacher,
                                                              const TokenWindows& windows,
                                                              const v1::EvaluationSpec& spec,
                                                              const std::atomic<bool>& stop);

// The share of the teacher's continuation that the model's own greedy continuation reproduces before it first
// differs, the mean over prompts: 1 for the teacher itself.
absl::StatusOr<double> FreeRunningAgreement(const LanguageModel& model, const FreeRunningReference& reference,
                                            const std::atomic<bool>& stop);

}  // namespace retort
