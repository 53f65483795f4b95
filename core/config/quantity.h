// Numbers as people write them in a job file. The error's message completes the sentence that starts with the
// text. Thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace retort {

// Decimal digits, with single underscores between them if one likes: "7", "1_000".
absl::StatusOr<uint64_t> ParseInteger(const std::string& text);

// An integer, or a decimal number with a suffix k, M or B (10^3, 10^6, 10^9, in either case) that makes a
// whole number: "32768", "32k", "2.76B".
absl::StatusOr<uint64_t> ParseTokenCount(const std::string& text);

// An integer, alone or followed by "steps": "100", "100 steps".
absl::StatusOr<uint64_t> ParseSteps(const std::string& text);

// An integer and a unit, s, m or h or the word for it, in seconds: "90s", "10 minutes", "1 hour".
absl::StatusOr<uint64_t> ParseDuration(const std::string& text);

// A finite decimal number: "0.001", "1e-4".
absl::StatusOr<double> ParseNumber(const std::string& text);

}  // namespace retort
