// What a job asks to be measured of a model: held-out and off-domain text, free-running agreement.
#pragma once

#include <atomic>

#include "absl/status/statusor.h"
#include "core/base/log.h"
#include "model/lm/language_model.h"
#include "nlohmann/json.hpp"
#include "retort/v1/job.pb.h"
#include "train/eval/evaluate.h"
#include "train/eval/free_running.h"
#include "worker/run/input_hashes.h"

namespace retort {

// Not thread-safe.
class Evaluation {
 public:
  // Reads the text. INVALID_ARGUMENT when it does not fit the teacher's vocabulary.
  static absl::StatusOr<Evaluation> Open(const v1::JobSpec& job, const RunInputs& inputs,
                                         const ModelConfig& teacher);

  // Lets the teacher continue the prompts that students will be compared on; before students are measured.
  // Warns in `log` when the text gives fewer prompts than the job asks for. CANCELLED as below.
  absl::Status ContinuePrompts(const LanguageModel& teacher, Log& log, const LogContext& context,
                               const std::atomic<bool>& stop);

  // The JSON of docs/formats.md for a student beside its teacher, or for a teacher (then `teacher` is null).
  // CANCELLED soon after `stop` is set.
  absl::StatusOr<nlohmann::json> Measure(const LanguageModel& model, const LanguageModel* teacher,
                                         const std::atomic<bool>& stop) const;

  // What SamplesJson shows; after ContinuePrompts.
  const FreeRunningReference& continuations() const { return free_running_; }
  const TokenWindows& windows() const { return eval_windows_; }  // of data.eval

  bool has_off_domain() const { return !off_domain_windows_.empty(); }

 private:
  v1::EvaluationSpec spec_;
  TokenWindows eval_windows_, off_domain_windows_;  // the latter empty: none
  FreeRunningReference free_running_;
};

}  // namespace retort
