// result.json (docs/formats.md) as the table that a person reads. Pure.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace retort {

// DATA_LOSS, naming the place, when `result` is not a whole result.json: everything below and the report take
// one.
absl::Status CheckResult(const nlohmann::json& result);

// Whether a layer, as `layer_types` has it, was converted.
bool IsConverted(const nlohmann::json& layer_type);

// The mean of a measured student's `hidden_distance` over the converted layers of `layer_types`; 0 when none
// was converted, and what was not finite does not count. Kept layers do not either: stage 3 may move them
// too.
double MeanDistance(const nlohmann::json& quality, const nlohmann::json& layer_types);

// One row for the teacher, the untrained student and the student after each stage; then the stages' losses
// and times.
std::string RenderResult(const nlohmann::json& result);

}  // namespace retort
