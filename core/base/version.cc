#include "core/base/version.h"

namespace retort {

std::string_view Version() { return RETORT_VERSION; }

}  // namespace retort
