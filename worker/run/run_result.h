// The two files of a result that are made from histories: metrics.jsonl and the stages of result.json
// (docs/formats.md).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "train/stages/stage_plan.h"
#include "worker/run/saved_tensors.h"

namespace retort {

// One stage of a run, done.
struct StageRecord {
  StagePlan plan;
  // By layer; in END_TO_END the one under layer 0 is the student's.
  std::map<int64_t, StepHistory> histories;
  nlohmann::json student;   // measured after it
  uint32_t world_size = 0;  // END_TO_END: its ranks, as fixed at its first grant; 0: another stage
};

// One line for each step and layer, by stage, step and layer.
std::string MetricsText(const std::vector<StageRecord>& stages);

// {name, tokens, seconds, loss_first, loss_last, student} of one stage, and world_size of END_TO_END.
nlohmann::json StageJson(const StageRecord& stage);

}  // namespace retort
