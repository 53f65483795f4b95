// The plan of the whole cluster: which worker does what. Made anew when something changed; the grants
// (DecideLease) follow it.
#pragma once

#include "orchestrator/state/changes.h"

namespace retort::orchestrator {

// When the next plan is due: soon after a change, when a back-off ends, else every rebalance_interval_ms. May
// lie in the past.
int64_t NextReplanSteadyMs(const Moment& now, const State& state, const Options& options);

// A new placement, with the yields that it needs and a PLAN_CHANGED event for each run whose layers moved.
// To call when NextReplanSteadyMs has come.
Decision<NoReply> DecideReplan(const Moment& now, const State& state, const Options& options);

}  // namespace retort::orchestrator
