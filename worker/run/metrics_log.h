// metrics.jsonl: one JSON object a line, for each step and layer (docs/formats.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace retort {

// Not thread-safe.
class MetricsLog {
 public:
  // Opens for appending after cutting the file to `bytes`: lines of steps that a resumed run will repeat go.
  static absl::StatusOr<MetricsLog> Open(const std::filesystem::path& file, int64_t bytes);

  absl::Status Append(const nlohmann::json& line);

  // The file's length with everything appended so far.
  int64_t bytes() const { return bytes_; }

 private:
  MetricsLog(std::ofstream out, std::string path, int64_t bytes)
      : out_(std::move(out)), path_(std::move(path)), bytes_(bytes) {}

  std::ofstream out_;
  std::string path_;
  int64_t bytes_;
};

}  // namespace retort
