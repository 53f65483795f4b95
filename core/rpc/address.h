// What users write for an orchestrator's address. Thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace retort {

// OK for HOST:PORT, such as head:7077, 10.0.0.1:7077 or [fd00::1]:7077. INVALID_ARGUMENT says what to write;
// gRPC would take a missing port for 443, and anything before a "://" for a way to look the name up.
absl::Status CheckAddress(absl::string_view address);

// The numeric address under which this machine reaches `address` (HOST:PORT), and so is reached from there.
// UNAVAILABLE when the name is not known or there is no way.
absl::StatusOr<std::string> HostTowards(const std::string& address);

}  // namespace retort
