// The parts of report.json (docs/formats.md): what a report shows of teacher and student beside figures.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "model/lm/language_model.h"
#include "nlohmann/json.hpp"
#include "train/eval/free_running.h"

namespace retort {

nlohmann::json ArchitectureJson(const LanguageModel& teacher, const LanguageModel& student);

// The converted layer whose first head's matrix is shown: the middle one. Nothing when none is converted.
std::optional<int64_t> ShownLayer(const ModelConfig& student);

// Of the first head of `layer` in `model`, on the teacher's input to it: the lower triangle of its mixing
// matrix over the first tokens of `window`, row by row, to three digits. `model` may be the teacher itself.
absl::StatusOr<nlohmann::json> HeadMatrixJson(const LanguageModel& model, const LanguageModel& teacher,
                                              int64_t layer, const std::vector<int32_t>& window);

// `samples`: the first prompts, as the teacher continued them and as the student does, in words. Empty when
// the teacher's directory has no tokenizer, and with the reason in `no_samples` when it has one that we
// cannot read. CANCELLED soon after `stop` is set.
absl::StatusOr<nlohmann::json> SamplesJson(const LanguageModel& student,
                                           const FreeRunningReference& reference,
                                           const std::filesystem::path& teacher_directory,
                                           const std::atomic<bool>& stop);

}  // namespace retort
