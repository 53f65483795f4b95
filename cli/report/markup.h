// Text for HTML pages. Pure.
#pragma once

#include <string>
#include <string_view>

namespace retort {

// `text` as it stands between tags or in a quoted attribute: what HTML means by & < > " is escaped, and bytes
// that are no UTF-8 and control characters but tab and newline become U+FFFD.
std::string EscapeHtml(std::string_view text);

}  // namespace retort
