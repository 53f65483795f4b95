// Unicode's canonical composition (Normalization Form C), by the tables of utf8proc.
#pragma once

#include <string>
#include <string_view>

namespace retort {

// Valid UTF-8 `text` in NFC; empty when no character of it needs looking at, so that `text` is in NFC
// already. Takes time in proportion to the text, times a logarithm for runs of combining marks.
std::string ComposeWhereNeeded(std::string_view text);

}  // namespace retort
