#include "train/eval/free_running.h"

#include <ATen/ATen.h>

#include "core/base/status_macros.h"
#include "model/lm/decoding.h"
#include "model/lm/torch_seam.h"

namespace retort {

absl::StatusOr<FreeRunningReference> MakeFreeRunningReference(const LanguageModel& teacher,
                                                              const TokenWindows& windows,
                                                              const v1::EvaluationSpec& spec,
                                                              const std::atomic<bool>& stop) {
  const int64_t prompts = spec.prompts(), prompt_tokens = spec.prompt_tokens();
  std::vector<at::Tensor> rows;
  for (const std::vector<int32_t>& window : windows) {
    if (static_cast<int64_t>(rows.size()) == prompts) break;
    if (static_cast<int64_t>(window.size()) < prompt_tokens) continue;
    rows.push_back(at::tensor(window, at::kInt).to(at::kLong).narrow(0, 0, prompt_tokens));
  }
  if (rows.empty()) return FreeRunningReference{};
  return CatchTorch("the teacher's continuations", [&]() -> absl::StatusOr<FreeRunningReference> {
    const at::Tensor prompts_BT = at::stack(rows);
    ASSIGN_OR_RETURN(const at::Tensor continuations_BS,
                     GreedyContinuation(teacher, prompts_BT, spec.continuation_tokens(), stop));
    return FreeRunningReference{prompts_BT, continuations_BS};
  });
}

absl::StatusOr<double> FreeRunningAgreement(const LanguageModel& model, const FreeRunningReference& reference,
                                            const std::atomic<bool>& stop) {
  return CatchTorch("free-running agreement", [&]() -> absl::StatusOr<double> {
    ASSIGN_OR_RETURN(const at::Tensor own, GreedyContinuation(model, reference.prompts_BT,
                                                              reference.continuations_BS.size(1), stop));
    const at::Tensor same_so_far = own.eq(reference.continuations_BS).to(at::kFloat).cumprod(1);
    return same_so_far.mean().item<double>();
  });
}

}  // namespace retort
