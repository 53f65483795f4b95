#include "train/data/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "core/base/check.h"
#include "train/data/utf8.h"

namespace retort {
namespace {

// Characters below U+0300 are starters in NFC, and compose with nothing before them.
bool IsPlain(std::string_view text, size_t at) { return static_cast<uint8_t>(text[at]) < 0xcc; }

size_t NextCharacter(std::string_view text, size_t at) {
  do ++at;
  while (at < text.size() && IsContinuation(text[at]));
  return at;
}

int CombiningClass(utf8proc_int32_t character) { return utf8proc_get_property(character)->combining_class; }

// Sorts each run of combining marks by class. utf8proc does this by exchanging neighbours, which a long run
// makes slow.
void OrderMarks(std::vector<utf8proc_int32_t>* characters) {
  const auto is_mark = [](utf8proc_int32_t c) { return CombiningClass(c) != 0; };
  auto begin = std::find_if(characters->begin(), characters->end(), is_mark);
  while (begin != characters->end()) {
    const auto end = std::find_if_not(begin, characters->end(), is_mark);
    std::stable_sort(begin, end, [](auto a, auto b) { return CombiningClass(a) < CombiningClass(b); });
    begin = std::find_if(end, characters->end(), is_mark);
  }
}

void AppendComposed(std::string_view text, std::string* composed) {
  std::vector<utf8proc_int32_t> characters;
  characters.reserve(text.size());
  while (!text.empty()) {
    constexpr int kLongest = 18;  // of one character's decomposition (U+FDFA; canonical ones are shorter)
    utf8proc_int32_t parts[kLongest];
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(TakeCharacter(&text)), parts,
                                               kLongest, UTF8PROC_DECOMPOSE, nullptr);
    RETORT_CHECK(count > 0 && count <= kLongest) << "a character of " << count << " parts";
    characters.insert(characters.end(), parts, parts + count);
  }
  OrderMarks(&characters);
  const auto count =
      utf8proc_normalize_utf32(characters.data(), std::ssize(characters),
                               static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  for (utf8proc_ssize_t i = 0; i < count; ++i) AppendUtf8(static_cast<char32_t>(characters[i]), composed);
}

}  // namespace

std::string ComposeWhereNeeded(std::string_view text) {
  std::string composed;
  size_t done = 0;
  size_t last = 0;  // the character before `at`, which a mark may change
  for (size_t at = 0; at < text.size();) {
    if (IsPlain(text, at)) {
      last = at;
      at = NextCharacter(text, at);
      continue;
    }
    size_t end = at;
    while (end < text.size() && !IsPlain(text, end)) end = NextCharacter(text, end);
    composed.append(text.substr(done, last - done));
    AppendComposed(text.substr(last, end - last), &composed);
    done = last = at = end;
  }
  if (done > 0) composed.append(text.substr(done));
  return composed;
}

}  // namespace retort
