// Text for HTML pages. Pure.
#pragma once

#include <string>
#include <string_view>

namespace retort {

// UTF-8 `text`, as JSON gives it, as it stands between tags or in a quoted attribute: what HTML means by
// & < > " is escaped, and control characters but tab and newline become U+FFFD.
std::string EscapeHtml(std::string_view text);

}  // namespace retort
