#include "model/teacher/teacher.h"

#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "model/io/weights_directory.h"

namespace retort {
namespace {

// Tensors that are stored beside the weights although they follow from config.json.
bool IsRedundant(const std::string& name, const ModelConfig& config) {
  return absl::EndsWith(name, ".rotary_emb.inv_freq") || (config.tied_head && name == "lm_head.weight");
}

// INVALID_ARGUMENT when the files hold a tensor that the model would not use.
absl::Status CheckAllUsed(const WeightsDirectory& weights, const LanguageModel& model) {
  std::set<std::string> used;
  for (const auto& tensor : ModelTensors(model)) used.insert(tensor.name);
  for (const std::string& name : weights.names()) {
    if (used.count(name) != 0 || IsRedundant(name, model.config)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(weights.directory(), ": tensor ", name, " is not one of the ", used.size(),
                     " that a model_type \"", model.config.family->model_type,
                     "\" of this config.json has; what it does to the model is not supported"));
  }
  return absl::OkStatus();
}

// Reads what is missing of the tensors at places below `end` (ModelTensor::place).
absl::Status LoadBelow(const std::filesystem::path& directory, int64_t end, LanguageModel& model,
                       SharedTensors* shared) {
  ASSIGN_OR_RETURN(const WeightsDirectory weights, WeightsDirectory::Open(directory));
  RETURN_IF_ERROR(CheckAllUsed(weights, model));
  for (const auto& tensor : ModelTensors(model)) {
    if (tensor.place >= end || tensor.value->defined()) continue;
    const auto read = [&] { return weights.Read(tensor.name, tensor.shape); };
    ASSIGN_OR_RETURN(*tensor.value,
                     shared == nullptr ? read() : shared->Get(tensor.name, tensor.shape, read));
  }
  if (model.config.tied_head) model.head_VE = model.embedding_VE;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LanguageModel> LoadWeights(const std::filesystem::path& directory, const ModelConfig& config) {
  LanguageModel model = EmptyModel(config);
  RETURN_IF_ERROR(LoadBelow(directory, config.num_layers() + 1, model, nullptr));
  return model;
}

absl::Status LoadBlocks(const std::filesystem::path& directory, int64_t blocks, LanguageModel& model,
                        SharedTensors* shared) {
  return LoadBelow(directory, blocks, model, shared);
}

void ReleaseBlocks(int64_t blocks, LanguageModel& model) {
  for (const auto& tensor : ModelTensors(model)) {
    if (tensor.place >= blocks) tensor.value->reset();
  }
}

absl::StatusOr<ModelConfig> ReadTeacherConfig(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(directory));
  if (config.is_student()) {
    return absl::InvalidArgumentError(absl::StrCat(
        directory.string(), " is a student; a teacher has a model_type of ", ModelFamilyNames()));
  }
  return config;
}

absl::StatusOr<LanguageModel> LoadTeacher(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(const ModelConfig config, ReadTeacherConfig(directory));
  return LoadWeights(directory, config);
}

}  // namespace retort
