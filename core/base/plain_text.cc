#include "core/base/plain_text.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"

namespace retort {
namespace {

bool IsControl(std::string_view character) {
  const auto first = static_cast<uint8_t>(character[0]);
  const bool c1 = first == 0xc2 && static_cast<uint8_t>(character[1]) < 0xa0;
  return (first < 0x20 && first != '\n' && first != '\t') || first == 0x7f || c1;
}

}  // namespace

size_t Utf8CharacterBytes(std::string_view text) {
  if (text.empty()) return 0;
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return 1;
  const size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xc0) != 0x80) return 0;
  }
  const auto second = static_cast<uint8_t>(text[1]);
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool surrogate = lead == 0xed && second >= 0xa0;
  const bool too_large = lead == 0xf4 && second >= 0x90;
  return overlong || surrogate || too_large ? 0 : size;
}

std::string PlainText(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  while (!text.empty()) {
    const size_t size = Utf8CharacterBytes(text);
    plain.append(size == 0 || IsControl(text) ? "?" : text.substr(0, size));
    text.remove_prefix(std::max<size_t>(size, 1));
  }
  return plain;
}

std::string Shown(std::string_view foreign, size_t max_bytes) {
  RETORT_CHECK(max_bytes > 3) << max_bytes;
  // Plain text is no longer than what it is made of, so what lies beyond cannot matter; the byte more tells.
  std::string plain = PlainText(foreign.substr(0, max_bytes + 1));
  std::replace_if(
      plain.begin(), plain.end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
  if (plain.size() <= max_bytes && foreign.size() <= max_bytes) return plain;
  size_t cut = 0;  // where a character ends that "..." still fits behind
  for (size_t end = 0; end + 3 <= max_bytes && end < plain.size();) {
    cut = end;
    end += Utf8CharacterBytes(std::string_view(plain).substr(end));
    if (end + 3 <= max_bytes) cut = end;
  }
  return absl::StrCat(plain.substr(0, cut), "...");
}

}  // namespace retort
