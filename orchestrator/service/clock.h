// The clocks and the luck of the running orchestrator; everything below the service is given them.
#pragma once

#include <cstdint>

#include "orchestrator/state/state.h"

namespace retort::orchestrator {

int64_t SteadyMs();
int64_t UnixMs();

// Thread-safe. The random numbers differ from process to process.
Moment Now();

}  // namespace retort::orchestrator
