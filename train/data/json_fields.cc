#include "train/data/json_fields.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace retort {

// nlohmann's parser reports by exception only; none leaves this function.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    return absl::InvalidArgumentError(absl::StrCat("not JSON: ", error.what()));
  }
}

const nlohmann::json& Field(const nlohmann::json& object, const char* key) {
  static const nlohmann::json* const null = new nlohmann::json();
  if (!object.is_object()) return *null;
  const auto member = object.find(key);
  return member == object.end() ? *null : *member;
}

absl::StatusOr<bool> BoolField(const nlohmann::json& object, const char* key, bool absent) {
  const nlohmann::json& value = Field(object, key);
  if (value.is_null()) return absent;
  if (value.is_boolean()) return value.get<bool>();
  return absl::InvalidArgumentError(absl::StrCat("'", key, "' is ", Brief(value), ", not true or false"));
}

absl::StatusOr<std::string> StringField(const nlohmann::json& object, const char* key, std::string absent) {
  const nlohmann::json& value = Field(object, key);
  if (value.is_null()) return absent;
  if (value.is_string()) return value.get<std::string>();
  return absl::InvalidArgumentError(absl::StrCat("'", key, "' is ", Brief(value), ", not a string"));
}

absl::Status Unsupported(const std::string& key, const nlohmann::json& found, const std::string& supported) {
  return absl::UnimplementedError(absl::StrCat("'", key, "' is ", Brief(found), "; supported: ", supported));
}

std::string Brief(const nlohmann::json& value) {
  constexpr size_t kLongest = 160;
  std::string text = value.dump(-1, ' ', true);
  if (text.size() > kLongest) text = absl::StrCat(text.substr(0, kLongest), "...");
  return text;
}

}  // namespace retort
