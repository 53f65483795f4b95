// result.json (docs/formats.md) as the table that a person reads. Pure.
#pragma once

#include <string>

#include "nlohmann/json.hpp"

namespace retort {

// The mean of a measured student's `hidden_distance` over converted layers; 0 when none was converted, and
// what was not finite does not count.
double MeanDistance(const nlohmann::json& quality);

// One row for the teacher, the untrained student and the student after each stage; then the stages' losses
// and times. `result` is a whole result.json.
std::string RenderResult(const nlohmann::json& result);

}  // namespace retort
