// GPT-2's alphabet: each of the 256 bytes as one printable character, the spelling of byte-level
// vocabularies.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace retort {

// Bytes in the vocabulary's spelling: " the" becomes "Ġthe".
std::string SpellBytes(std::string_view bytes);

// The reverse; none when a character of `spelling` stands for no byte. `spelling` is valid UTF-8.
std::optional<std::string> UnspellBytes(std::string_view spelling);

}  // namespace retort
