#include "train/data/utf8.h"

#include <cstring>

namespace retort {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

struct Sequence {
  size_t size;
  bool valid;
};

// The first character of non-empty `text`, or its first maximal ill-formed part.
Sequence FirstSequence(std::string_view text) {
  const uint8_t lead = text[0];
  if (lead < 0x80) return {1, true};
  size_t size = 0;
  uint8_t low = 0x80;  // limits of the second byte: no overlong forms, surrogates or values above 10FFFF
  uint8_t high = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) {
    size = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    size = 3;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    size = 4;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  } else {
    return {1, false};
  }
  if (text.size() < 2) return {1, false};
  const uint8_t second = text[1];
  if (second < low || second > high) return {1, false};
  for (size_t i = 2; i < size; ++i) {
    if (i >= text.size() || !IsContinuation(text[i])) return {i, false};
  }
  return {size, true};
}

size_t ValidPrefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    uint64_t eight;
    if (at + sizeof(eight) <= text.size()) {
      std::memcpy(&eight, text.data() + at, sizeof(eight));
      if ((eight & 0x8080808080808080u) == 0) {
        at += sizeof(eight);
        continue;
      }
    }
    const Sequence sequence = FirstSequence(text.substr(at));
    if (!sequence.valid) break;
    at += sequence.size;
  }
  return at;
}

bool IsSpace(char32_t c) {
  return (c >= 0x9 && c <= 0xd) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

}  // namespace

bool IsContinuation(char byte) { return (static_cast<uint8_t>(byte) & 0xc0) == 0x80; }

std::string_view ToValidUtf8(std::string_view text, std::string* storage) {
  size_t valid = ValidPrefix(text);
  if (valid == text.size()) return text;
  storage->clear();
  while (true) {
    storage->append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) return *storage;
    storage->append(kReplacement);
    text.remove_prefix(FirstSequence(text).size);
    valid = ValidPrefix(text);
  }
}

uint64_t CountIllFormed(std::string_view text) {
  uint64_t parts = 0;
  for (text.remove_prefix(ValidPrefix(text)); !text.empty(); text.remove_prefix(ValidPrefix(text))) {
    ++parts;
    text.remove_prefix(FirstSequence(text).size);
  }
  return parts;
}

char32_t TakeCharacter(std::string_view* text) {
  const size_t size = FirstSequence(*text).size;
  const uint8_t lead = (*text)[0];
  char32_t character = size == 1 ? lead : lead & (0x7f >> size);
  for (size_t i = 1; i < size; ++i) character = character << 6 | (static_cast<uint8_t>((*text)[i]) & 0x3f);
  text->remove_prefix(size);
  return character;
}

size_t FirstCharacterBytes(std::string_view text) { return FirstSequence(text).size; }

void AppendUtf8(char32_t c, std::string* text) {
  if (c < 0x80) {
    text->push_back(static_cast<char>(c));
    return;
  }
  if (c < 0x800) {
    text->push_back(static_cast<char>(0xc0 | c >> 6));
  } else if (c < 0x10000) {
    text->push_back(static_cast<char>(0xe0 | c >> 12));
    text->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
  } else {
    text->push_back(static_cast<char>(0xf0 | c >> 18));
    text->push_back(static_cast<char>(0x80 | (c >> 12 & 0x3f)));
    text->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
  }
  text->push_back(static_cast<char>(0x80 | (c & 0x3f)));
}

size_t LeadingSpace(std::string_view text) {
  std::string_view rest = text;
  size_t size = 0;
  while (!rest.empty() && IsSpace(TakeCharacter(&rest))) size = text.size() - rest.size();
  return size;
}

size_t TrailingSpace(std::string_view text) {
  std::string_view rest = text;
  while (!rest.empty()) {
    std::string_view last = LastCharacter(rest);
    const size_t bytes = last.size();
    if (!IsSpace(TakeCharacter(&last))) break;
    rest.remove_suffix(bytes);
  }
  return text.size() - rest.size();
}

std::string_view LastCharacter(std::string_view text) {
  size_t start = text.size() - 1;
  while (IsContinuation(text[start])) --start;
  return text.substr(start);
}

}  // namespace retort
