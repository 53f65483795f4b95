// A Jinja template's text as tokens, with the white space rules that transformers sets for chat templates:
// trim_blocks and lstrip_blocks.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::jinja {

struct Token {
  enum class Kind {
    kText,        // between tags
    kPrintBegin,  // {{
    kPrintEnd,
    kBlockBegin,  // {%
    kBlockEnd,
    kName,
    kString,  // without quotes, escapes resolved
    kNumber,
    kOperator,  // also brackets, commas, colons
    kEnd,
  };
  Kind kind;
  std::string text;
  int line;  // from 1
};

// INVALID_ARGUMENT names the line.
absl::StatusOr<std::vector<Token>> Tokenize(const std::string& source);

}  // namespace retort::jinja
