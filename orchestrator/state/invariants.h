// What must hold of every State, whatever happened. For tests, the simulator and a start on a store.
#pragma once

#include <string>
#include <vector>

#include "orchestrator/state/state.h"

namespace retort::orchestrator {

// A sentence for each thing that is wrong; empty: all is well.
std::vector<std::string> CheckInvariants(const State& state);

// What must hold between a state and one that came later: tokens and steps only rise, DONE is never left,
// identities stay.
std::vector<std::string> CheckProgress(const State& before, const State& after);

}  // namespace retort::orchestrator
