// What a plan needs of a teacher, from its config.json alone. The loader of the model reads the file whole
// and is stricter.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "retort/v1/work.pb.h"

namespace retort {

// `teacher` is a Hugging Face directory. NOT_FOUND without config.json; INVALID_ARGUMENT names the key that
// is missing or no whole number. Thread-safe.
absl::StatusOr<v1::ModelShape> ReadTeacherShape(const std::filesystem::path& teacher);

}  // namespace retort
