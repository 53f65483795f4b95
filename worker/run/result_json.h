// result.json: what a run measured (docs/formats.md), and the table that a person reads of it.
#pragma once

#include <string>

#include "nlohmann/json.hpp"
#include "train/eval/evaluate.h"

namespace retort {

// {perplexity, tokens, kl, top1_agreement, hidden_distance[]}, the last three beside a teacher only.
nlohmann::json QualityJson(const Quality& quality);

// The start of a result: {job, identity, versions, host}.
nlohmann::json NewResult(const std::string& job_name, const nlohmann::json& identity);

// One row for the teacher, the untrained student and the student after each stage; then the stages' losses
// and times. `result` is a whole result.json.
std::string RenderResult(const nlohmann::json& result);

// The largest resident size that this process has had.
int64_t PeakMemoryBytes();

}  // namespace retort
