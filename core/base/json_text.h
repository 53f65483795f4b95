// JSON files, read strictly: what another reader could take otherwise is refused.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace retort {

// `text` as one JSON value in UTF-8. INVALID_ARGUMENT, saying where, when it is none, when an object has a
// member twice, or when values lie more than 64 deep in each other.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text);

}  // namespace retort
