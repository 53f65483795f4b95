// How much memory this process may have.
#pragma once

#include <cstdint>

namespace retort {

// The memory of the machine, or of the control group that is smaller. Thread-safe.
uint64_t MachineMemoryBytes();

}  // namespace retort
