// Free-running agreement: what is left of the teacher's text when the student writes on its own.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "absl/status/statusor.h"
#include "model/lm/language_model.h"
#include "train/eval/evaluate.h"

namespace retort {

// Fixed prompts and how the teacher continues each, greedily.
struct FreeRunningReference {
  at::Tensor prompts_BT;        // int64
  at::Tensor continuations_BS;  // int64
};

// The first `prompt_tokens` of the first `prompts` windows that are long enough. Undefined tensors when there
// is no such window.
absl::StatusOr<FreeRunningReference> MakeFreeRunningReference(const LanguageModel& teacher,
                                                              const TokenWindows& windows, int64_t prompts,
                                                              int64_t prompt_tokens,
                                                              int64_t continuation_tokens);

// The share of the teacher's continuation that the model's own greedy continuation reproduces before it first
// differs, the mean over prompts: 1 for the teacher itself.
absl::StatusOr<double> FreeRunningAgreement(const LanguageModel& model,
                                            const FreeRunningReference& reference);

}  // namespace retort
