#include "tool/eval.h"

#include <ATen/Parallel.h>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "model/lm/torch_seam.h"
#include "model/student/student_directory.h"
#include "train/data/eval_windows.h"
#include "train/eval/evaluate.h"

namespace retort {
namespace {

// The models must read the same tokens, and compare layer by layer.
absl::Status CheckPair(const ModelConfig& model, const ModelConfig& teacher) {
  if (model.vocab_size == teacher.vocab_size && model.hidden_size == teacher.hidden_size &&
      model.num_layers() == teacher.num_layers()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "the model has ", model.num_layers(), " layers of width ", model.hidden_size, " over ",
      model.vocab_size, " tokens, --teacher has ", teacher.num_layers(), " of width ", teacher.hidden_size,
      " over ", teacher.vocab_size, "; give the teacher that this student was made from"));
}

absl::StatusOr<TokenWindows> ReadWindows(const EvalOptions& options, const ModelConfig& config) {
  TokenWindows windows;
  const int64_t longest = options.window == 0 ? config.context : std::min(options.window, config.context);
  uint64_t left = static_cast<uint64_t>(options.max_tokens);
  for (const std::filesystem::path& bin : options.data) {
    ASSIGN_OR_RETURN(const TokenWindows more,
                     EvalWindows(bin, {.max_window = static_cast<int>(longest),
                                       .max_tokens = left,
                                       .vocab_size = static_cast<int32_t>(config.vocab_size)}));
    windows.insert(windows.end(), more.begin(), more.end());
    if (options.max_tokens == 0) continue;
    for (const auto& window : more) left -= std::min<uint64_t>(left, window.size());
    if (left < 2) break;  // a lone token predicts nothing
  }
  return windows;
}

absl::StatusOr<nlohmann::json> Eval(const EvalOptions& options, Progress& progress,
                                    const std::atomic<bool>& stop) {
  if (options.threads > 0) at::set_num_threads(options.threads);
  ASSIGN_OR_RETURN(const LanguageModel model, LoadModel(options.model));
  std::optional<LanguageModel> teacher;
  if (options.teacher) {
    ASSIGN_OR_RETURN(teacher, LoadModel(*options.teacher));
    RETURN_IF_ERROR(CheckPair(model.config, teacher->config));
  }
  ASSIGN_OR_RETURN(const TokenWindows windows, ReadWindows(options, model.config));
  progress.StartPhase("measuring " + options.model.string(), 0, static_cast<int64_t>(windows.size()),
                      "window");
  int64_t measured_windows = 0;
  const auto on_window = [&] { progress.Step({.step = ++measured_windows}); };
  ASSIGN_OR_RETURN(const Quality quality,
                   Evaluate(model, teacher ? &*teacher : nullptr, windows, stop, on_window));
  progress.EndPhase();
  nlohmann::json result = {{"perplexity", quality.perplexity}, {"tokens", quality.tokens}};
  if (const auto& beside = quality.beside_teacher) {
    result["kl"] = beside->kl;
    result["top1_agreement"] = beside->top1_agreement;
    result["hidden_distance"] = beside->hidden_distance;
    result["teacher_perplexity"] = beside->teacher_perplexity;
  }
  return result;
}

}  // namespace

absl::StatusOr<nlohmann::json> RunEval(const EvalOptions& options, Progress& progress,
                                       const std::atomic<bool>& stop) {
  return CatchTorch("evaluation", [&] { return Eval(options, progress, stop); });
}

}  // namespace retort
