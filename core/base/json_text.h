// JSON files, read strictly: what another reader could take otherwise is refused.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace retort {

// `text` as one JSON value in UTF-8. INVALID_ARGUMENT, saying where, when it is none, when an object has a
// member twice, or when values lie more than 64 deep in each other.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text);

// What is wrong and where, of an error that the library found in a text: without its own name for the error.
std::string JsonComplaint(const nlohmann::json::exception& error);

// `value` as JSON in ASCII, shortened to about a line.
std::string Brief(const nlohmann::json& value);

}  // namespace retort
