// What of a run's stages 1 and 2 is still to do, as plans see it.
#pragma once

#include <vector>

#include "orchestrator/state/costs.h"
#include "orchestrator/state/cut.h"
#include "orchestrator/state/state.h"

namespace retort::orchestrator {

// A converted layer whose last stage before END_TO_END is not DONE.
struct OpenLayer {
  uint32_t layer;
  size_t position;           // among the run's converted layers
  v1::Stage stage;           // the first that is not DONE
  uint64_t remaining = 0;    // steps of it, by what the holder reported last
  uint64_t later_steps = 0;  // of stage 2, where `stage` is 1 and the job has both
  uint64_t token = 0;        // of the lease that holds it; 0: none
  bool is_waiting = false;   // in back-off
};

// Ascending. Without the rows of leases whose worker is not registered (after a restart): nobody can plan
// them until it comes back or they expire.
std::vector<OpenLayer> OpenLayersOf(const Moment& now, const State& state, const Run& run);

// Steps that the row has, by what the holder reported last; without a lease: as published.
uint64_t ReportedStep(const Lease* lease, const v1::TaskRecord& task);

// Whether one slice can hold both: neighbours among the converted layers, in one stage.
bool AreNeighbours(const OpenLayer& lower, const OpenLayer& upper);

// Work in gigaflop until the ranges' layers are through stages 1 and 2, done by one worker: its slices one
// after the other where a range is no single slice. What is below a range is another worker's.
RangeTable TableOf(const v1::RunRecord& run, const RunCosts& costs, const std::vector<OpenLayer>& layers);

}  // namespace retort::orchestrator
