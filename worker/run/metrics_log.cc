#include "worker/run/metrics_log.h"

#include "absl/strings/str_cat.h"

namespace retort {

absl::StatusOr<MetricsLog> MetricsLog::Open(const std::filesystem::path& file, int64_t bytes) {
  std::error_code error;
  if (bytes == 0 || !std::filesystem::exists(file, error)) {
    std::ofstream truncated(file, std::ios::trunc);
    bytes = 0;
  } else if (const auto size = static_cast<int64_t>(std::filesystem::file_size(file, error)); size > bytes) {
    std::filesystem::resize_file(file, bytes, error);
  } else if (!error) {
    bytes = size;  // a power cut took the file's end
  }
  std::ofstream out(file, std::ios::app);
  if (error || !out) {
    return absl::PermissionDeniedError(
        absl::StrCat("cannot write ", file.string(), error ? ": " + error.message() : ""));
  }
  return MetricsLog(std::move(out), file.string(), bytes);
}

absl::Status MetricsLog::Append(const nlohmann::json& line) {
  const std::string text = line.dump() + "\n";
  out_ << text << std::flush;
  if (!out_) return absl::ResourceExhaustedError(absl::StrCat("cannot write ", path_, ": is the disk full?"));
  bytes_ += static_cast<int64_t>(text.size());
  return absl::OkStatus();
}

}  // namespace retort
