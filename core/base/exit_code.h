// What the exit code of a Retort program says; the same table for every program (docs/commands.md).
#pragma once

#include "absl/status/status.h"

namespace retort {

inline constexpr int kExitOk = 0;
inline constexpr int kExitInternal = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitUnreachable = 3;
inline constexpr int kExitNotFound = 4;
inline constexpr int kExitConflict = 5;
inline constexpr int kExitDenied = 6;
inline constexpr int kExitFailed = 10;  // damaged data, no memory, no disk; of a run also its training
inline constexpr int kExitCancelled = 11;
inline constexpr int kExitNotFinished = 12;

// The code of a command that ended with `status`.
int ExitCode(const absl::Status& status);

// The code of a run that ended with `status`: what training itself reports as INTERNAL (a loss that is not a
// number) is kExitFailed, everything else as above.
int RunExitCode(const absl::Status& status);

}  // namespace retort
