// A Jinja template's text to its statements: those that chat templates use (if, for, set, macro, break,
// continue, generation) and all expressions. INVALID_ARGUMENT names the line; UNIMPLEMENTED a statement of
// Jinja that is none of these.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "train/chat/jinja_syntax.h"

namespace retort::jinja {

absl::StatusOr<std::vector<Statement>> Parse(const std::string& source);

}  // namespace retort::jinja
