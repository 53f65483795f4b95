// What a parsed template writes for given values.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "train/chat/jinja_syntax.h"
#include "train/chat/jinja_value.h"

namespace retort::jinja {

// `globals` are the variables; `now` is for strftime_now. INVALID_ARGUMENT names the line where a value is
// not what it must be, or where the template wants more than a chat's worth of work or text; UNIMPLEMENTED
// that where it uses what is not done here; FAILED_PRECONDITION is what its raise_exception says.
// Thread-safe.
absl::StatusOr<std::string> Render(const std::vector<Statement>& body, const Dict& globals, absl::Time now);

}  // namespace retort::jinja
