#include "core/base/json_keys.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace retort {

using nlohmann::json;

namespace {

std::string JoinNames(std::initializer_list<std::string_view> names) {
  std::string joined;
  for (const std::string_view name : names) joined.append(joined.empty() ? "" : ", ").append(name);
  return joined;
}

}  // namespace

const json& Field(const json& object, const char* key) {
  static const json* const null = new json();
  if (!object.is_object()) return *null;
  const auto member = object.find(key);
  return member == object.end() ? *null : *member;
}

absl::StatusOr<bool> BoolField(const json& object, const char* key, bool absent) {
  const json& value = Field(object, key);
  if (value.is_null()) return absent;
  if (value.is_boolean()) return value.get<bool>();
  return absl::InvalidArgumentError(absl::StrCat("'", key, "' is ", Brief(value), ", not true or false"));
}

absl::StatusOr<std::string> StringField(const json& object, const char* key, std::string absent) {
  const json& value = Field(object, key);
  if (value.is_null()) return absent;
  if (value.is_string()) return value.get<std::string>();
  return absl::InvalidArgumentError(absl::StrCat("'", key, "' is ", Brief(value), ", not a string"));
}

absl::Status CheckMembers(const std::string& key, const json& object,
                          std::initializer_list<std::string_view> known) {
  if (!object.is_object()) return absl::OkStatus();
  for (const auto& [name, value] : object.items()) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return absl::UnimplementedError(absl::StrCat("'", key, "' has a member '", name, "' of value ",
                                                 Brief(value), "; supported: ", JoinNames(known)));
  }
  return absl::OkStatus();
}

absl::Status Unsupported(const std::string& key, const json& found, const std::string& supported) {
  return absl::UnimplementedError(absl::StrCat("'", key, "' is ", Brief(found), "; supported: ", supported));
}

const json* JsonKeys::Find(const char* key) const {
  const json& value = Field(object_, key);
  return value.is_null() ? nullptr : &value;
}

int64_t JsonKeys::Size(const char* key) { return SizeOr(key, -1); }

int64_t JsonKeys::SizeOr(const char* key, int64_t fallback) {
  const json* value = Find(key);
  if (value == nullptr) {
    if (fallback < 0) Fail(key, absl::StrCat("is missing; give a whole number from 1 to ", kSizeLimit));
    return fallback;
  }
  if (!value->is_number_integer()) {
    Fail(key, absl::StrCat("is ", Brief(*value), ", not an integer"));
    return 0;
  }
  const int64_t number = value->get<int64_t>();
  if (number < 1 || number > kSizeLimit) {
    Fail(key, absl::StrCat("is ", Brief(*value), ", outside 1 to ", kSizeLimit));
  }
  return number;
}

double JsonKeys::Positive(const char* key) {
  if (Find(key) == nullptr) Fail(key, "is missing; give a number above 0");
  return PositiveOr(key, 1.0);
}

double JsonKeys::PositiveOr(const char* key, double fallback) {
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_number() || !(value->get<double>() > 0)) {
    Fail(key, absl::StrCat("is ", Brief(*value), ", not a positive number"));
    return fallback;
  }
  return value->get<double>();
}

bool JsonKeys::BoolOr(const char* key, bool fallback) {
  const absl::StatusOr<bool> value = BoolField(object_, key, fallback);
  if (!value.ok()) FailWith(value.status().message());
  return value.value_or(fallback);
}

void JsonKeys::Require(const char* key, const json& supported) {
  const json* value = Find(key);
  if (value != nullptr && *value != supported) FailWith(Unsupported(key, *value, Brief(supported)).message());
}

std::optional<JsonKeys> JsonKeys::Inner(const char* key) const {
  const json* value = Find(key);
  if (value == nullptr || !value->is_object()) return std::nullopt;
  return JsonKeys(*value, absl::StrCat(origin_, ": '", key, "'"));
}

void JsonKeys::TakeStatus(const JsonKeys& inner) {
  if (status_.ok()) status_ = inner.status();
}

void JsonKeys::Fail(absl::string_view key, absl::string_view what) {
  FailWith(absl::StrCat("'", key, "' ", what));
}

void JsonKeys::FailWith(absl::string_view what) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(origin_, ": ", what));
}

}  // namespace retort
