// A line of a .jsonl file.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace retort {

// The text in the member `field` of the JSON object that `line` is. INVALID_ARGUMENT when it is no JSON, or
// when that member is missing, given twice or no string; nothing else in the object is looked at.
absl::StatusOr<std::string> TextOfLine(std::string_view line, const std::string& field);

}  // namespace retort
