// Named places at which a process can be made to die, for tests of what a crash leaves behind.
//
// RETORT_CRASH_AT=NAME ends the process the first time it passes CrashPoint(NAME); NAME:3 the third time. It
// ends as by SIGKILL: nothing is flushed, no destructor runs, the exit code is 137. The variable is read
// once. Unset, which is the rule, a CrashPoint costs a test of one flag. The names are listed in
// docs/store.md.
#pragma once

#include <string_view>

namespace retort {

// Thread-safe.
void CrashPoint(std::string_view name);

}  // namespace retort
