// The files of a finished run that its report is made from (docs/formats.md).
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace retort {

// Losses at steps 1, 2, ... by layer; of `end_to_end` under the one key -1.
using LossesOfLayers = std::map<int64_t, std::vector<double>>;

struct RunFiles {
  nlohmann::json result;                         // result.json
  std::map<std::string, LossesOfLayers> losses;  // metrics.jsonl, by stage; NaN where a loss was not finite
  nlohmann::json shown;                          // report.json: matrices and samples
};

// NOT_FOUND names a missing file and what makes it; DATA_LOSS the place of what is no such file.
absl::StatusOr<RunFiles> ReadRunFiles(const std::filesystem::path& directory);

}  // namespace retort
