// "Did you mean": the known word that a mistyped one most likely stands for.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace retort {

// The candidate with the fewest edits (insert, delete, replace, or swap two neighbours; ASCII case ignored),
// the first of equals. None when even that takes more edits than a third of the longer word (one edit is
// always allowed unless it changes every letter). Thread-safe.
std::optional<std::string> Nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace retort
