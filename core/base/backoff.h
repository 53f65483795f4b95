// How long to wait before a call is repeated (docs/protocol.md, "Deadlines").
#pragma once

#include <cstdint>

namespace retort {

// Milliseconds after `failures` > 0 failures in a row: 200, doubling up to 5,000, times a factor from 1/2 to
// 3/2 that `random`, drawn anew for each wait, decides; so that callers that failed together do not come back
// together. Thread-safe.
int64_t RepeatWaitMs(int failures, uint64_t random);

}  // namespace retort
