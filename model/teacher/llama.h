// Loads teachers of the Llama family from a Hugging Face directory.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "model/lm/language_model.h"

namespace retort {

// Weights of any stored float type become float32. NOT_FOUND for a missing directory, file or tensor,
// INVALID_ARGUMENT for a configuration or a tensor that does not fit, DATA_LOSS for a file cut short.
absl::StatusOr<LanguageModel> LoadLlama(const std::filesystem::path& directory);

// Reads every tensor that `config` asks for; shared with the students' loader.
absl::StatusOr<LanguageModel> LoadWeights(const std::filesystem::path& directory, const ModelConfig& config);

}  // namespace retort
