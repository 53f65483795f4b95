// What to do about a child process that has ended. Pure: time and randomness are passed in.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace retort {

inline constexpr int kMaxFailuresInARow = 5;
inline constexpr double kSoundLifeSeconds = 60;  // a child that lived so long had started well

struct ChildEnd {
  int exit_code = -1;  // -1 when a signal ended it
  int signal = 0;
  double lived_seconds = 0;
};

struct ChildVerdict {
  absl::Status error;  // not OK: give up; the run's exit code follows it
  double wait_seconds = 0;
  int failures_in_a_row = 0;
};

// "exit code 1", "signal 9 (Killed)".
std::string EndText(const ChildEnd& end);

// A child that nobody asked to end. A wrong command line and a missing program end the run at once,
// everything else after kMaxFailuresInARow in a row; a conflict too, as it may be with a predecessor that is
// still dying. `name` and `log_file` are for the message.
ChildVerdict JudgeEnd(const std::string& name, const std::string& log_file, const ChildEnd& end,
                      int failures_before, uint64_t random);

}  // namespace retort
