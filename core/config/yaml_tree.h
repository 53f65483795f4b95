// YAML text as a tree whose every node knows its place, for configuration that people write by hand. A strict
// subset: one UTF-8 document, no tags, no anchors or aliases, at most 500 levels deep (yaml-cpp's limit).
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace retort {

// Counted from 1, columns in characters.
struct TextPosition {
  int line = 1;
  int column = 1;

  // clang-tidy 14 takes the comparison's implied 0 for a null pointer.
  friend auto operator<=>(const TextPosition&,
                          const TextPosition&) = default;  // NOLINT(modernize-use-nullptr)
};

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  TextPosition position;
  std::string text;  // kScalar: without quotes
  std::vector<YamlNode>
      items;  // kList: its elements; kMap: key, value, key, value, ... in order, duplicates too
};

// The tree of `contents`; kNull when it holds no document. The error is INVALID_ARGUMENT, "NAME:LINE:COLUMN:
// what". Thread-safe.
absl::StatusOr<YamlNode> ParseYaml(const std::string& contents, const std::string& name);

}  // namespace retort
