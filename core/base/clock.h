// The clocks: one for durations and deadlines inside one process, one for people. Thread-safe.
#pragma once

#include <cstdint>

namespace retort {

// Seconds since some moment; never goes back.
double MonotonicSeconds();

// Milliseconds of the wall clock, for display.
int64_t UnixMilliseconds();

}  // namespace retort
