// What users write for an orchestrator's address. Thread-safe.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace retort {

// OK for HOST:PORT, such as head:7077, 10.0.0.1:7077 or [fd00::1]:7077. INVALID_ARGUMENT says what to write;
// gRPC would take a missing port for 443, and anything before a "://" for a way to look the name up.
absl::Status CheckAddress(absl::string_view address);

}  // namespace retort
