#include "model/teacher/llama.h"

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "model/io/weights_directory.h"

namespace retort {

absl::StatusOr<LanguageModel> LoadWeights(const std::filesystem::path& directory, const ModelConfig& config) {
  ASSIGN_OR_RETURN(const WeightsDirectory weights, WeightsDirectory::Open(directory));
  LanguageModel model = EmptyModel(config);
  for (const auto& tensor : ModelTensors(model)) {
    ASSIGN_OR_RETURN(*tensor.value, weights.Read(tensor.name, tensor.shape));
  }
  if (config.tied_head) model.head_VE = model.embedding_VE;
  return model;
}

absl::StatusOr<LanguageModel> LoadLlama(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(directory));
  if (config.is_student()) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory.string(), " is a student; a teacher is a model_type \"llama\" directory"));
  }
  return LoadWeights(directory, config);
}

}  // namespace retort
