// Typed reading of one JSON object's keys, which remembers the first thing that was wrong.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace retort {

// A null counts as absent, as transformers writes unset keys. Refers to the object.
class JsonKeys {
 public:
  static constexpr int64_t kSizeLimit = int64_t{1} << 31;

  // `origin`, a file, begins every message.
  JsonKeys(const nlohmann::json& object, std::string origin) : object_(object), origin_(std::move(origin)) {}

  // null when absent.
  const nlohmann::json* Find(const char* key) const;

  // From 1 to kSizeLimit.
  int64_t Size(const char* key);
  int64_t SizeOr(const char* key, int64_t fallback);
  double Positive(const char* key);
  double PositiveOr(const char* key, double fallback);
  bool BoolOr(const char* key, bool fallback);

  // Refuses a key whose value changes the mathematics into something this version does not compute.
  void Require(const char* key, const nlohmann::json& supported);

  void Fail(absl::string_view key, absl::string_view what);

  // The keys of the object at `key`, or nothing when it is none. What is wrong with them is told by
  // TakeStatus.
  std::optional<JsonKeys> Inner(const char* key) const;
  void TakeStatus(const JsonKeys& inner);

  // OK, or INVALID_ARGUMENT naming origin and key.
  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json& object_;
  std::string origin_;
  absl::Status status_;
};

}  // namespace retort
