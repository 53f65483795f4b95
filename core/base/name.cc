#include "core/base/name.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace retort {

bool IsName(absl::string_view name) {
  const auto is_first = [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); };
  return !name.empty() && name.size() <= 63 && is_first(name.front()) &&
         !std::all_of(name.begin(), name.end(), absl::ascii_isdigit) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return is_first(c) || c == '.' || c == '_' || c == '-'; });
}

}  // namespace retort
