// The names that users give to runs and workers. Thread-safe.
#pragma once

#include "absl/strings/string_view.h"

namespace retort {

// [a-z0-9][a-z0-9._-]{0,62}, and not digits alone: those are a run's id.
bool IsName(absl::string_view name);

inline constexpr absl::string_view kNameRule =
    "1 to 63 of a-z, 0-9, dot, dash and underscore, a letter or digit first, not digits alone";

}  // namespace retort
