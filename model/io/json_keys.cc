#include "model/io/json_keys.h"

#include "absl/strings/str_cat.h"
#include "core/base/json_text.h"

namespace retort {

using nlohmann::json;

const json* JsonKeys::Find(const char* key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

int64_t JsonKeys::Size(const char* key) { return SizeOr(key, -1); }

int64_t JsonKeys::SizeOr(const char* key, int64_t fallback) {
  const json* value = Find(key);
  if (value == nullptr) {
    if (fallback < 0) Fail(key, "is missing");
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
  if (Find(key) == nullptr) Fail(key, "is missing");
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
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) {
    Fail(key, absl::StrCat("is ", Brief(*value), ", neither true nor false"));
    return fallback;
  }
  return value->get<bool>();
}

void JsonKeys::Require(const char* key, const json& supported) {
  const json* value = Find(key);
  if (value != nullptr && *value != supported) {
    Fail(key, absl::StrCat("is ", Brief(*value), "; supported: ", Brief(supported)));
  }
}

std::optional<JsonKeys> JsonKeys::Inner(const char* key) const {
  const json* value = Find(key);
  if (value == nullptr || !value->is_object()) return std::nullopt;
  return JsonKeys(*value, absl::StrCat(origin_, ": \"", key, "\""));
}

void JsonKeys::TakeStatus(const JsonKeys& inner) {
  if (status_.ok()) status_ = inner.status();
}

void JsonKeys::Fail(absl::string_view key, absl::string_view what) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(origin_, ": \"", key, "\" ", what));
}

}  // namespace retort
