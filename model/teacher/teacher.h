// Loads teachers from a Hugging Face directory, whole or as far up as they are needed.
// model/io/model_family.h lists the families.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "model/io/shared_tensors.h"
#include "model/lm/language_model.h"

namespace retort {

// The shape of the teacher in a directory. INVALID_ARGUMENT also when it holds a student.
absl::StatusOr<ModelConfig> ReadTeacherConfig(const std::filesystem::path& directory);

// Weights of any stored float type become float32. NOT_FOUND for a missing directory, file or tensor,
// INVALID_ARGUMENT for a configuration or a tensor that does not fit, and for a tensor that the model's
// family does not have: it would change what the model computes. DATA_LOSS for a file cut short.
absl::StatusOr<LanguageModel> LoadTeacher(const std::filesystem::path& directory);

// As LoadTeacher, but only what `model`, an EmptyModel of the directory's shape or one filled by this, still
// lacks of embedding and blocks 0 to blocks - 1; with `blocks` one above their number also final norm and
// head. A tied head comes with the embedding. Where `shared` is not null the tensors are its own, in files of
// their names.
absl::Status LoadBlocks(const std::filesystem::path& directory, int64_t blocks, LanguageModel& model,
                        SharedTensors* shared = nullptr);

// Lets go of the blocks from `blocks` on, and of final norm and head.
void ReleaseBlocks(int64_t blocks, LanguageModel& model);

// Reads every tensor that `config` asks for; shared with the students' loader.
absl::StatusOr<LanguageModel> LoadWeights(const std::filesystem::path& directory, const ModelConfig& config);

}  // namespace retort
