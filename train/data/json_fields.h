// Reading JSON whose errors name key and value.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/json_text.h"
#include "nlohmann/json.hpp"

namespace retort {

// The member `key` of `object`, or null when it is absent.
const nlohmann::json& Field(const nlohmann::json& object, const char* key);

// INVALID_ARGUMENT when the member is neither absent, null, nor of that type.
absl::StatusOr<bool> BoolField(const nlohmann::json& object, const char* key, bool absent);
absl::StatusOr<std::string> StringField(const nlohmann::json& object, const char* key, std::string absent);

// UNIMPLEMENTED when `object`, which stands at `key`, has a member that is not among `known`.
absl::Status CheckMembers(const std::string& key, const nlohmann::json& object,
                          std::initializer_list<std::string_view> known);

// "'model.type' is "WordPiece"; supported: "BPE"".
absl::Status Unsupported(const std::string& key, const nlohmann::json& found, const std::string& supported);

}  // namespace retort
