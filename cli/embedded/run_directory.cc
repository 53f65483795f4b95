#include "cli/embedded/run_directory.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "core/base/check.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

using nlohmann::json;

std::string DifferenceText(const std::string& key, const std::string& was, const std::string& is) {
  return absl::StrCat(key, " was ", was, ", is ", is);
}

}  // namespace

absl::StatusOr<json> ReadResult(const std::filesystem::path& out_dir) {
  const std::filesystem::path file = out_dir / "result.json";
  std::error_code error;
  if (!std::filesystem::exists(file, error) && !error) return json();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  absl::StatusOr<json> result = ParseJson(text);
  const bool whole = result.ok() && result->is_object() && result->contains("identity") &&
                     (*result)["identity"].is_object() && result->contains("student") &&
                     result->contains("seconds") && result->contains("peak_memory_bytes");
  if (!whole) {
    return absl::DataLossError(
        absl::StrCat(file.string(), " is not a run's result; remove it or choose another --out"));
  }
  return result;
}

json JobIdentity(const v1::JobSpec& job) {
  v1::JobSpec deciding = job;
  deciding.clear_name();
  deciding.clear_checkpoint();
  if (deciding.student().keep_attention().auto_layers() > 0) {
    deciding.mutable_student()->mutable_keep_attention()->clear_layers();  // a probe chose them
  }
  std::string text;
  RETORT_CHECK(google::protobuf::util::MessageToJsonString(deciding, &text).ok()) << job.name();
  return json::parse(text);
}

std::vector<std::string> Differences(const json& was, const json& is) {
  const json before = was.flatten(), after = is.flatten();
  json keys = before;
  keys.update(after);
  std::vector<std::string> differences;
  for (const auto& [key, unused] : keys.items()) {
    if (key.empty()) continue;  // of an empty object
    const std::string then = before.contains(key) ? before[key].dump() : "absent";
    const std::string now = after.contains(key) ? after[key].dump() : "absent";
    if (then == now) continue;
    const std::string name =
        absl::StrReplaceAll(key.substr(1), {{"~1", "/"}, {"~0", "~"}});  // a JSON pointer
    differences.push_back(DifferenceText(name, then, now));
  }
  return differences;
}

absl::Status RefuseDifferences(const std::filesystem::path& out_dir,
                               const std::vector<std::string>& differences) {
  if (differences.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      out_dir.string(), " holds a run that began otherwise: ", absl::StrJoin(differences, "; "),
      ". Undo the change to go on with it, give another directory with --out, or remove this one"));
}

std::vector<std::string> DifferencesFromResult(const json& result, const v1::JobSpec& job, int threads) {
  const json& identity = result["identity"];
  json was_job = identity.value("job", json::object());
  const json::json_pointer keep("/student/keepAttention");
  if (was_job.contains(keep / "autoLayers")) was_job[keep].erase("layers");
  std::vector<std::string> differences = Differences(was_job, JobIdentity(job));
  const json was = identity.value("threads", json());
  if (threads != 0 && was != threads) {
    differences.push_back(DifferenceText("threads", was.dump(), absl::StrCat(threads)));
  }
  return differences;
}

std::vector<std::string> DifferencesFromRun(const v1::GetReply& run, const v1::JobSpec& job, int threads) {
  std::vector<std::string> differences = Differences(JobIdentity(run.job()), JobIdentity(job));
  const int was = static_cast<int>(run.run().numerics().threads());
  if (threads != 0 && was != 0 && was != threads) {
    differences.push_back(DifferenceText("threads", absl::StrCat(was), absl::StrCat(threads)));
  }
  return differences;
}

bool HasSavedSteps(const v1::RunStatus& run) {
  return std::any_of(run.tasks().begin(), run.tasks().end(),
                     [](const v1::TaskStatus& task) { return task.published_step() > 0; });
}

}  // namespace retort
