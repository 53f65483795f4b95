#include "train/eval/free_running.h"

#include <ATen/ATen.h>

#include "model/lm/decoding.h"
#include "model/lm/torch_seam.h"

namespace retort {

absl::StatusOr<FreeRunningReference> MakeFreeRunningReference(const LanguageModel& teacher,
                                                              const TokenWindows& windows, int64_t prompts,
                                                              int64_t prompt_tokens,
                                                              int64_t continuation_tokens) {
  std::vector<at::Tensor> rows;
  for (const std::vector<int32_t>& window : windows) {
    if (static_cast<int64_t>(rows.size()) == prompts) break;
    if (static_cast<int64_t>(window.size()) < prompt_tokens) continue;
    rows.push_back(at::tensor(window, at::kInt).to(at::kLong).narrow(0, 0, prompt_tokens));
  }
  if (rows.empty()) return FreeRunningReference{};
  return CatchTorch("the teacher's continuations", [&]() -> absl::StatusOr<FreeRunningReference> {
    const at::Tensor prompts_BT = at::stack(rows);
    return FreeRunningReference{prompts_BT, GreedyContinuation(teacher, prompts_BT, continuation_tokens)};
  });
}

absl::StatusOr<double> FreeRunningAgreement(const LanguageModel& model,
                                            const FreeRunningReference& reference) {
  return CatchTorch("free-running agreement", [&]() -> absl::StatusOr<double> {
    const at::Tensor own =
        GreedyContinuation(model, reference.prompts_BT, reference.continuations_BS.size(1));
    const at::Tensor same_so_far = own.eq(reference.continuations_BS).to(at::kFloat).cumprod(1);
    return same_so_far.mean().item<double>();
  });
}

}  // namespace retort
