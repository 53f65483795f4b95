// What planning computes about a run once and uses several times.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/state/assign.h"
#include "orchestrator/state/costs.h"
#include "orchestrator/state/draft.h"
#include "orchestrator/state/open_layers.h"

namespace retort::orchestrator {

// Of a run that may be granted something (QUEUED or RUNNING).
struct RunView {
  const Run* run = nullptr;
  // PREPARE or END_TO_END when that is what is left to do; UNSPECIFIED: stages 1 and 2 of `layers`.
  v1::Stage stage = v1::STAGE_UNSPECIFIED;
  RunCosts costs;                 // empty in PREPARE
  std::vector<OpenLayer> layers;  // stage UNSPECIFIED only, as `table`
  RangeTable table{0};
  Demand demand;
  int64_t next_backoff_unix_ms = 0;  // the first that ends; 0: none
  std::string eligibility;           // END_TO_END: how many workers could be a rank, with numbers
  std::string waits_for;             // why the demand cannot be met in full, or is 0; else empty
  // END_TO_END: with how many ranks it could begin now, where they are fewer than the run has and it may
  // still change that.
  std::optional<uint32_t> fewer_ranks;
};

// The costs are passed in because speeds, which decide whom a run would like, are found from them first.
RunView ViewRun(const Draft& draft, const Run& run, RunCosts costs);

CutWorker LimitsOf(const Worker& worker);

// How many of these workers can be ranks of END_TO_END together, by the memory of their hosts and the
// sequences of a step; 1 at least.
uint64_t RanksAmong(const Draft& draft, const v1::RunRecord& run, const std::vector<uint64_t>& workers);

// Whether anything of it may be granted.
bool IsGrantable(v1::RunState state);

}  // namespace retort::orchestrator
