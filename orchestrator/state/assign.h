// Which run gets which workers: priorities first, then fair shares, then age.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "orchestrator/state/draft.h"
#include "orchestrator/state/state.h"

namespace retort::orchestrator {

// What a worker's process fixes of a run's numbers.
v1::Numerics NumericsOn(const v1::JobSpec& job, const v1::Capabilities& capabilities);

// Whether a worker computes the run's training to the same bits. A run without numerics takes anybody.
bool MatchesNumerics(const v1::RunRecord& run, const v1::Capabilities& capabilities);

// Whether the run may be offered to this worker at all; `trains` is false for PREPARE.
bool MayOffer(const Moment& now, const Run& run, const Worker& worker, bool trains);

// How many workers a run can use now, and which.
struct Demand {
  uint64_t run_id = 0;
  int32_t priority = 0;
  size_t workers = 0;
  // With fewer it gets none, unless it holds some already: half a gang would wait for the other half of
  // another run's.
  size_t at_least = 1;
  std::vector<uint64_t> eligible;  // worker_ids
};

// Each run's workers. A higher priority is served in full before a lower one gets any. Runs of one priority
// get the same number, as far as each can use them; the one over goes to the older run. A run keeps those it
// has before it takes others, and takes idle ones before those that hold something of another run.
std::map<uint64_t, std::vector<uint64_t>> AssignWorkers(const Draft& draft, std::vector<Demand> demands);

}  // namespace retort::orchestrator
