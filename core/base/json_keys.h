// Typed reading of a JSON object's members, with errors that name key and value. A null counts as absent, as
// Python's libraries write what is not set.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/json_text.h"
#include "nlohmann/json.hpp"

namespace retort {

// The member `key` of `object`, or null when it is absent or `object` is none.
const nlohmann::json& Field(const nlohmann::json& object, const char* key);

// `absent` when the member is absent; INVALID_ARGUMENT when it has another type.
absl::StatusOr<bool> BoolField(const nlohmann::json& object, const char* key, bool absent);
absl::StatusOr<std::string> StringField(const nlohmann::json& object, const char* key, std::string absent);

// UNIMPLEMENTED when `object`, which stands at `key`, has a member that is not among `known`.
absl::Status CheckMembers(const std::string& key, const nlohmann::json& object,
                          std::initializer_list<std::string_view> known);

// UNIMPLEMENTED: "'model.type' is "WordPiece"; supported: "BPE"".
absl::Status Unsupported(const std::string& key, const nlohmann::json& found, const std::string& supported);

// Reads many members and remembers the first thing that was wrong. Refers to the object.
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
  void FailWith(absl::string_view what);

  const nlohmann::json& object_;
  std::string origin_;
  absl::Status status_;
};

}  // namespace retort
