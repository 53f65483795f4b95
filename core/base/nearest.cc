#include "core/base/nearest.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"

namespace retort {
namespace {

// Damerau-Levenshtein distance in its "optimal string alignment" form: no letter is edited twice.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> before_last(b.size() + 1), last(b.size() + 1), current(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) current[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(before_last, last);
    std::swap(last, current);
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      current[j] = std::min({replaced, last[j] + 1, current[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = std::min(current[j], before_last[j - 2] + 1);
      }
    }
  }
  return current[b.size()];
}

}  // namespace

std::optional<std::string> Nearest(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string lower_word = absl::AsciiStrToLower(std::string(word));
  std::optional<std::string> nearest;
  size_t fewest = 0;
  for (const std::string& candidate : candidates) {
    const size_t shorter = std::min(word.size(), candidate.size());
    const size_t longer = std::max(word.size(), candidate.size());
    const size_t limit = std::max<size_t>(1, longer / 3);
    if (longer - shorter > limit) continue;
    const size_t edits = EditDistance(lower_word, absl::AsciiStrToLower(candidate));
    if (edits > limit || edits >= longer || (nearest && edits >= fewest)) continue;
    nearest = candidate;
    fewest = edits;
  }
  return nearest;
}

}  // namespace retort
