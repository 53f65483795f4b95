// How much memory this process holds, as the kernel counts it.
#pragma once

#include <functional>

namespace retort {

// The most that has been resident since the process began, or since the last AddedPeakBytes: bytes.
double PeakResidentBytes();

// The most resident memory that a call adds to what is resident before it. What the heap has kept of earlier
// calls hides there, so it is given back first; call it before anything else has run, or in a child, to be
// sure.
double AddedPeakBytes(const std::function<void()>& function);

}  // namespace retort
