// The version of this source tree, as in CMakeLists.txt.
#pragma once

#include <string_view>

namespace retort {

std::string_view Version();  // "0.1.0"

}  // namespace retort
