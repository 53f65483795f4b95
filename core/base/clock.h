// The clock for durations and deadlines inside one process.
#pragma once

namespace retort {

// Seconds since some moment; never goes back. Thread-safe.
double MonotonicSeconds();

}  // namespace retort
