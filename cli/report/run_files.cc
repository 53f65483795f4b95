#include "cli/report/run_files.h"

#include <limits>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

using nlohmann::json;

absl::StatusOr<std::string> ReadOf(const std::filesystem::path& directory, const char* name) {
  absl::StatusOr<std::string> text = ReadFile(directory / name);
  if (text.ok() || !absl::IsNotFound(text.status())) return text;
  return absl::NotFoundError(absl::StrCat(directory.string(), " has no ", name,
                                          ": a report is made of a run that is complete; `retort run` or "
                                          "`retort download` leaves one"));
}

absl::StatusOr<json> ReadObject(const std::filesystem::path& directory, const char* name) {
  ASSIGN_OR_RETURN(const std::string text, ReadOf(directory, name));
  absl::StatusOr<json> object = ParseJson(text);
  if (object.ok() && object->is_object()) return object;
  return absl::DataLossError(absl::StrCat(
      (directory / name).string(), " is not what a run leaves: ",
      object.ok() ? "no JSON object" : std::string(object.status().message()), "; fetch it again"));
}

bool IsMetric(const json& line) {
  return line.is_object() && line.contains("stage") && line["stage"].is_string() && line.contains("step") &&
         line["step"].is_number_unsigned() && line.contains("layer") &&
         (line["layer"].is_null() || line["layer"].is_number_unsigned()) && line.contains("loss") &&
         (line["loss"].is_null() || line["loss"].is_number());
}

}  // namespace

absl::StatusOr<RunFiles> ReadRunFiles(const std::filesystem::path& directory) {
  RunFiles files;
  ASSIGN_OR_RETURN(files.result, ReadObject(directory, "result.json"));
  ASSIGN_OR_RETURN(files.shown, ReadObject(directory, "report.json"));
  ASSIGN_OR_RETURN(const std::string metrics, ReadOf(directory, "metrics.jsonl"));
  std::istringstream lines(metrics);
  size_t number = 0;
  for (std::string text; std::getline(lines, text);) {
    ++number;
    const json line = ParseJson(text).value_or(json());
    std::vector<double>* losses = nullptr;
    if (IsMetric(line)) {
      const int64_t layer = line["layer"].is_null() ? -1 : line["layer"].get<int64_t>();
      losses = &files.losses[line["stage"].get<std::string>()][layer];
    }
    if (losses == nullptr || line["step"].get<size_t>() != losses->size() + 1) {
      return absl::DataLossError(absl::StrCat((directory / "metrics.jsonl").string(), ":", number,
                                              ": is not the next step of a stage; fetch the run again"));
    }
    losses->push_back(line["loss"].is_null() ? std::numeric_limits<double>::quiet_NaN()
                                             : line["loss"].get<double>());
  }
  return files;
}

}  // namespace retort
