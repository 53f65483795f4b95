// What the system says of a file, as our status. Thread-safe.
#pragma once

#include <filesystem>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace retort {

// "DOING PATH: REASON; ADVICE", such as "cannot write a.bin: No space left on device; free some space and try
// again". The code is errno's (NOT_FOUND, PERMISSION_DENIED, ...), but RESOURCE_EXHAUSTED also for a limit on
// the size of files, PERMISSION_DENIED for a file system that is read-only, DATA_LOSS for a broken disk.
absl::Status FileError(int error_number, absl::string_view doing, const std::filesystem::path& path);

}  // namespace retort
