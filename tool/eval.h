// How well a model predicts token files: `retort eval`.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/progress.h"

namespace retort {

struct EvalOptions {
  std::filesystem::path model;                   // a teacher's or a student's directory
  std::optional<std::filesystem::path> teacher;  // compared with, token by token
  std::vector<std::filesystem::path> data;  // Megatron .bin files with their .idx beside them; at least one
  int64_t window = 0;                       // tokens at once; 0: the model's context
  int64_t max_tokens = 0;                   // read at most so many tokens, over all files in order; 0: all
  int threads = 0;                          // 0: all cores
};

// One object. Always: "perplexity" (exp of the mean negative log-likelihood over predicted tokens) and
// "tokens" (how many those are). With a teacher also "teacher_perplexity", "kl" (mean over tokens of
// KL(teacher || model), in nats), "top1_agreement" (share in [0, 1]) and "hidden_distance" (one number per
// layer, from layer 0). Each document is read on its own in windows; all tokens of a window but its first are
// predicted. NOT_FOUND for a missing directory or file; INVALID_ARGUMENT for models or data that do not fit
// together; CANCELLED soon after `stop` is set.
absl::StatusOr<nlohmann::json> RunEval(const EvalOptions& options, Progress& progress,
                                       const std::atomic<bool>& stop);

}  // namespace retort
