// UTF-8 as the tokenizer needs it: repair, and characters one at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace retort {

// `text` itself when it is valid UTF-8; else a copy in `storage` where each maximal ill-formed part has
// become U+FFFD (the Unicode standard's recommended practice, Python's errors="replace").
std::string_view ToValidUtf8(std::string_view text, std::string* storage);

// How many parts ToValidUtf8 replaces in `text`.
uint64_t CountIllFormed(std::string_view text);

// Whether `byte`, of valid UTF-8, is not the first of a character.
bool IsContinuation(char byte);

// Takes the first character off valid, non-empty UTF-8.
char32_t TakeCharacter(std::string_view* text);

// How many bytes the first character of valid, non-empty UTF-8 has.
size_t FirstCharacterBytes(std::string_view text);

// The last character of valid, non-empty UTF-8.
std::string_view LastCharacter(std::string_view text);

void AppendUtf8(char32_t character, std::string* text);

// Bytes of white space (Unicode's White_Space) at the start, and at the end, of valid UTF-8.
size_t LeadingSpace(std::string_view text);
size_t TrailingSpace(std::string_view text);

}  // namespace retort
