// One run's layers over the workers that it was given: what its holders have stays with them unless a new cut
// pays.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/state/cut.h"
#include "orchestrator/state/open_layers.h"

namespace retort::orchestrator {

struct CutCandidate {
  uint64_t worker_id = 0;
  std::string name;
  CutWorker limits;
  // Open layers (indices) that it holds and is not asked to give back; empty when begin == end.
  size_t held_begin = 0;
  size_t held_end = 0;
  std::optional<size_t> planned_begin;  // where the last plan saw it
};

struct WorkerRange {
  size_t begin = 0;
  size_t end = 0;
  friend bool operator==(const WorkerRange&, const WorkerRange&) = default;
};

// A range for each worker that has one, and the seconds until the last is through stages 1 and 2.
struct RunCut {
  std::map<uint64_t, WorkerRange> ranges;  // by worker_id
  double seconds = 0;
};

// Holders keep what they have; what nobody holds goes to the workers that hold nothing, else to the holder
// beside it, after its slice. nullopt: something does not fit, or there is no worker.
std::optional<RunCut> KeepCut(const RangeTable& table, const std::vector<CutCandidate>& workers);

// All layers anew, by CutLayers, slow workers at the bottom. Those of one speed (within a fifth) stay in the
// order of what they hold.
std::optional<RunCut> CutAnew(const RangeTable& table, const std::vector<CutCandidate>& workers);

struct RecutRules {
  double min_gain;      // Options
  double cost_seconds;  // Options
  bool is_allowed;      // false: too soon after the last one, or a yield is under way
};

struct ChosenCut {
  RunCut cut;
  bool is_recut = false;  // holders must give layers back for it
  std::string reason;
};

// nullopt: does not fit, or no workers; `reason` says which in words.
std::optional<ChosenCut> ChooseCut(const RangeTable& table, const std::vector<CutCandidate>& workers,
                                   const RecutRules& rules, std::string& reason);

}  // namespace retort::orchestrator
