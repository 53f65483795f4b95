// The other programs of Retort, which lie in the directory of this one.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace retort {

// Where this program lies.
absl::StatusOr<std::filesystem::path> ProgramDirectory();

// Replaces this process by the program `name` with `args` (without the program's name), so that its signals,
// its terminal and its exit code are the user's. Returns only on failure: NOT_FOUND when the program is not
// there.
absl::Status BecomeSibling(const std::string& name, const std::vector<std::string>& args);

}  // namespace retort
