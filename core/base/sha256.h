// SHA-256, as 64 lower-case hexadecimal digits. Thread-safe.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace retort {

std::string Sha256Hex(std::string_view bytes);

// Reads the file in pieces, so its size does not matter.
absl::StatusOr<std::string> Sha256HexOfFile(const std::filesystem::path& path);

}  // namespace retort
