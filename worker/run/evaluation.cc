#include "worker/run/evaluation.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "train/data/eval_windows.h"
#include "worker/run/result_json.h"

namespace retort {

absl::StatusOr<Evaluation> Evaluation::Open(const v1::JobSpec& job, const RunInputs& inputs,
                                            const ModelConfig& teacher) {
  const WindowLimits limits = {
      .max_window = static_cast<int>(std::min<int64_t>(job.data().seq_len(), teacher.context)),
      .max_tokens = job.evaluation().tokens(),
      .vocab_size = static_cast<int32_t>(teacher.vocab_size)};
  Evaluation evaluation;
  evaluation.spec_ = job.evaluation();
  ASSIGN_OR_RETURN(evaluation.eval_windows_, EvalWindows(inputs.eval, limits));
  if (!inputs.off_domain.empty()) {
    ASSIGN_OR_RETURN(evaluation.off_domain_windows_, EvalWindows(inputs.off_domain, limits));
  }
  return evaluation;
}

absl::Status Evaluation::ContinuePrompts(const LanguageModel& teacher, Log& log, const LogContext& context,
                                         const std::atomic<bool>& stop) {
  if (spec_.prompts() == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(free_running_, MakeFreeRunningReference(teacher, eval_windows_, spec_, stop));
  const int64_t found = free_running_.prompts_BT.defined() ? free_running_.prompts_BT.size(0) : 0;
  if (found < spec_.prompts()) {
    log.Warning(absl::StrCat("free-running agreement: data.eval gives ", found, " prompts of ",
                             spec_.prompt_tokens(), " tokens, not ", spec_.prompts()),
                context);
  }
  return absl::OkStatus();
}

absl::StatusOr<nlohmann::json> Evaluation::Measure(const LanguageModel& model, const LanguageModel* teacher,
                                                   const std::atomic<bool>& stop) const {
  const auto on_window = [] {};
  ASSIGN_OR_RETURN(const Quality quality, Evaluate(model, teacher, eval_windows_, stop, on_window));
  nlohmann::json measured = QualityJson(quality);
  if (teacher != nullptr && free_running_.prompts_BT.defined()) {
    ASSIGN_OR_RETURN(measured["free_running_agreement"], FreeRunningAgreement(model, free_running_, stop));
  }
  if (has_off_domain()) {
    ASSIGN_OR_RETURN(const Quality off_domain,
                     Evaluate(model, nullptr, off_domain_windows_, stop, on_window));
    measured["off_domain"] = QualityJson(off_domain);
  }
  return measured;
}

}  // namespace retort
