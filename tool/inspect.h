// What a model directory holds: `retort inspect`.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"

namespace retort {

struct InspectOptions {
  std::filesystem::path model;  // a teacher's or a student's directory
};

// One object: "kind" ("teacher" or "student"), "config" (flat: name to number, text or bool), "layers" (one
// object per layer in order: "mixer", "parameters") and "parameters" (part to count, with "total"). NOT_FOUND
// for a missing directory; INVALID_ARGUMENT for one that holds no model we know.
absl::StatusOr<nlohmann::json> RunInspect(const InspectOptions& options);

}  // namespace retort
