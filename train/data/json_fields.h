// Reading JSON whose errors name key and value.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace retort {

// INVALID_ARGUMENT, saying where it goes wrong, when `text` is not one JSON value in UTF-8.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text);

// The member `key` of `object`, or null when it is absent.
const nlohmann::json& Field(const nlohmann::json& object, const char* key);

// INVALID_ARGUMENT when the member is neither absent, null, nor of that type.
absl::StatusOr<bool> BoolField(const nlohmann::json& object, const char* key, bool absent);
absl::StatusOr<std::string> StringField(const nlohmann::json& object, const char* key, std::string absent);

// "'model.type' is "WordPiece"; supported: "BPE"".
absl::Status Unsupported(const std::string& key, const nlohmann::json& found, const std::string& supported);

// `value` as JSON, shortened to about a line.
std::string Brief(const nlohmann::json& value);

}  // namespace retort
