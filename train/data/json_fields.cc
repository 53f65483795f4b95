#include "train/data/json_fields.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace retort {
namespace {

std::string JoinNames(std::initializer_list<std::string_view> names) {
  std::string joined;
  for (const std::string_view name : names) joined.append(joined.empty() ? "" : ", ").append(name);
  return joined;
}

}  // namespace

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

absl::Status CheckMembers(const std::string& key, const nlohmann::json& object,
                          std::initializer_list<std::string_view> known) {
  if (!object.is_object()) return absl::OkStatus();
  for (const auto& [name, value] : object.items()) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return absl::UnimplementedError(absl::StrCat("'", key, "' has a member '", name, "' of value ",
                                                 Brief(value), "; supported: ", JoinNames(known)));
  }
  return absl::OkStatus();
}

absl::Status Unsupported(const std::string& key, const nlohmann::json& found, const std::string& supported) {
  return absl::UnimplementedError(absl::StrCat("'", key, "' is ", Brief(found), "; supported: ", supported));
}

}  // namespace retort
