// What the pre-tokenizer Metaspace and the decoder of that name have in common.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace retort {

struct MetaspaceFields {
  std::string replacement;     // one character, which stands for a space
  std::string prepend_scheme;  // "always", "first" or "never": who gets a space in front
  bool split;                  // words begin at spaces
};

// `key` names the object in errors: UNIMPLEMENTED for members and values that are not known.
absl::StatusOr<MetaspaceFields> ReadMetaspace(const std::string& key, const nlohmann::json& object);

}  // namespace retort
