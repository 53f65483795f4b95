// Text that others wrote, fit for a terminal, a log and a message. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace retort {

// Bytes of the UTF-8 character at the start of `text`; 0 when there is none.
size_t Utf8CharacterBytes(std::string_view text);

// `text` with "?" for each control character (C0 but newline and tab, DEL, C1), which a terminal could obey,
// and for each byte that belongs to no UTF-8 character.
std::string PlainText(std::string_view text);

// A name or value of unknown origin as it stands in a message: plain, on one line, cut to `max_bytes`.
std::string Shown(std::string_view foreign, size_t max_bytes = 160);

}  // namespace retort
