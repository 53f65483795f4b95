// A student on disk: config.json (`retort_hybrid`), model.safetensors (F32), and the teacher's tokenizer
// files. docs/formats.md lists the tensors.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/lm/language_model.h"

namespace retort {

struct StudentFile {
  std::string name;
  std::string contents;
};

// The files of a student; the weights are the last. Tokenizer files are the teacher's, when it has them.
absl::StatusOr<std::vector<StudentFile>> StudentFiles(const LanguageModel& student,
                                                      const std::filesystem::path& teacher_directory);

// A teacher or a student, whichever the directory holds.
absl::StatusOr<LanguageModel> LoadModel(const std::filesystem::path& directory);

}  // namespace retort
