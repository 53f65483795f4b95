// What a JSON file must hold, as a table of places. Pure.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "nlohmann/json.hpp"

namespace retort {

enum class JsonShape {
  kText,
  kNumber,
  kNumberOrNull,  // JSON has null for what is not finite
  kAmount,        // a number from 0 to 1e15: seconds, bytes, tokens
  kCount,         // a whole one
  kList,
  kObject,
};

struct JsonPlace {
  const char* path;  // members' names with "/" between them; "*" stands for every element or member
  JsonShape shape;
  bool optional = false;  // the last member may be absent
};

// OK when `root` has every place, each of its shape; what lies on the way to a place stands in the table
// itself. DATA_LOSS names `file`, the place and what it holds.
absl::Status CheckJsonShape(const std::string& file, const nlohmann::json& root,
                            absl::Span<const JsonPlace> places);

}  // namespace retort
