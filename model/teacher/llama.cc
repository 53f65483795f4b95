#include "model/teacher/llama.h"

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "model/io/weights_directory.h"

namespace retort {
namespace {

// Reads what is missing of the tensors at places below `end` (ModelTensor::place).
absl::Status LoadBelow(const std::filesystem::path& directory, int64_t end, LanguageModel& model) {
  ASSIGN_OR_RETURN(const WeightsDirectory weights, WeightsDirectory::Open(directory));
  for (const auto& tensor : ModelTensors(model)) {
    if (tensor.place >= end || tensor.value->defined()) continue;
    ASSIGN_OR_RETURN(*tensor.value, weights.Read(tensor.name, tensor.shape));
  }
  if (model.config.tied_head) model.head_VE = model.embedding_VE;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LanguageModel> LoadWeights(const std::filesystem::path& directory, const ModelConfig& config) {
  LanguageModel model = EmptyModel(config);
  RETURN_IF_ERROR(LoadBelow(directory, config.num_layers() + 1, model));
  return model;
}

absl::Status LoadBlocks(const std::filesystem::path& directory, int64_t blocks, LanguageModel& model) {
  return LoadBelow(directory, blocks, model);
}

absl::StatusOr<ModelConfig> ReadTeacherConfig(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(directory));
  if (config.is_student()) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory.string(), " is a student; a teacher is a model_type \"llama\" directory"));
  }
  return config;
}

absl::StatusOr<LanguageModel> LoadLlama(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(const ModelConfig config, ReadTeacherConfig(directory));
  return LoadWeights(directory, config);
}

}  // namespace retort
