#include "model/student/student_directory.h"

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "model/io/safetensors.h"
#include "model/teacher/teacher.h"
#include "nlohmann/json.hpp"

namespace retort {

absl::StatusOr<std::vector<StudentFile>> StudentFiles(const LanguageModel& student,
                                                      const std::filesystem::path& teacher_directory) {
  std::vector<StudentFile> files;
  std::error_code error;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                           "special_tokens_map.json", "generation_config.json"}) {
    if (!std::filesystem::exists(teacher_directory / name, error)) continue;
    ASSIGN_OR_RETURN(std::string contents, ReadFile(teacher_directory / name));
    files.push_back({name, std::move(contents)});
  }
  files.push_back({"config.json", StudentConfigJson(student.config).dump(2) + "\n"});
  NamedTensors tensors;
  for (const auto& tensor : ModelTensors(student)) tensors.emplace_back(tensor.name, tensor.value->detach());
  files.push_back({"model.safetensors", SafetensorsBytes(tensors, {{"format", "pt"}})});
  return files;
}

absl::StatusOr<LanguageModel> LoadModel(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(directory));
  return LoadWeights(directory, config);
}

}  // namespace retort
