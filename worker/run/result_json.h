// Parts of result.json (docs/formats.md).
#pragma once

#include <string>

#include "nlohmann/json.hpp"
#include "train/eval/evaluate.h"

namespace retort {

// {perplexity, tokens, kl, top1_agreement, hidden_distance[]}, the last three beside a teacher only.
nlohmann::json QualityJson(const Quality& quality);

// The start of a result: {job, identity, versions, host}.
nlohmann::json NewResult(const std::string& job_name, const nlohmann::json& identity);

// The largest resident size that this process has had.
int64_t PeakMemoryBytes();

}  // namespace retort
