#include "train/data/byte_alphabet.h"

#include <array>

#include "train/data/utf8.h"

namespace retort {
namespace {

// Printable Latin-1 bytes stand for themselves; the 68 others, in order, are U+0100 onwards.
constexpr int kOthers = 68;

constexpr bool IsPrintable(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte != 0xad);
}

constexpr std::array<char32_t, 256> Characters() {
  std::array<char32_t, 256> characters{};
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) characters[byte] = IsPrintable(byte) ? byte : next++;
  return characters;
}
constexpr std::array<char32_t, 256> kCharacters = Characters();

constexpr std::array<int, 0x100 + kOthers> Bytes() {
  std::array<int, 0x100 + kOthers> bytes{};
  for (int& byte : bytes) byte = -1;
  for (int byte = 0; byte < 256; ++byte) bytes[kCharacters[byte]] = byte;
  return bytes;
}
constexpr std::array<int, 0x100 + kOthers> kBytes = Bytes();

}  // namespace

std::string SpellBytes(std::string_view bytes) {
  std::string spelling;
  for (const char byte : bytes) AppendUtf8(kCharacters[static_cast<uint8_t>(byte)], &spelling);
  return spelling;
}

std::optional<std::string> UnspellBytes(std::string_view spelling) {
  std::string bytes;
  while (!spelling.empty()) {
    const char32_t character = TakeCharacter(&spelling);
    if (character >= kBytes.size() || kBytes[character] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kBytes[character]));
  }
  return bytes;
}

}  // namespace retort
