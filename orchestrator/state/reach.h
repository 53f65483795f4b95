// Which workers reach each other, by the addresses under which they say that they listen.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "orchestrator/state/draft.h"
#include "orchestrator/state/state.h"

namespace retort::orchestrator {

// Whether it says that it listens on its own machine alone: a worker beside its orchestrator that was started
// without --host.
bool IsOnLoopback(const Worker& worker);

// Whether `other` can connect to `worker`. A worker that says no address is given the benefit of the doubt.
bool IsReachedFrom(const Worker& worker, const Worker& other);

// The part of `workers`, in their order, that all reach each other: the one with most of the run's holders,
// then the largest.
std::vector<uint64_t> ReachingEachOther(const Draft& draft, const std::vector<uint64_t>& workers,
                                        uint64_t run_id);

// A sentence on a registered worker that another one does not reach, and what to do; empty: there is none.
std::string WhyNotReached(const State& state);

}  // namespace retort::orchestrator
