// A hash map from strings that is searched with string views, without a copy. (Debian's absl has a
// string_view of its own, so its maps cannot.)
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace retort {

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};

template <typename Value>
using StringMap = std::unordered_map<std::string, Value, StringHash, std::equal_to<>>;

}  // namespace retort
