#include "worker/run/run_identity.h"

#include <google/protobuf/util/json_util.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "core/base/check.h"
#include "core/base/version.h"

namespace retort {
namespace {

using nlohmann::json;

std::string ComputePathText(v1::ComputePath path) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::ComputePath_Name(path), "COMPUTE_PATH_"));
}

}  // namespace

v1::JobSpec DecidingJob(const v1::JobSpec& job) {
  v1::JobSpec deciding = job;
  deciding.clear_name();
  deciding.clear_checkpoint();
  return deciding;
}

json RunIdentity(const v1::JobSpec& job, const v1::InputHashes& inputs, const v1::Numerics& numerics) {
  std::string text;
  RETORT_CHECK(google::protobuf::util::MessageToJsonString(DecidingJob(job), &text).ok()) << job.name();
  json data = json::object();
  for (const v1::InputHash& hash : inputs.data()) data[hash.path()] = absl::BytesToHexString(hash.sha256());
  return json{{"job", json::parse(text)},
              {"teacher_sha256", absl::BytesToHexString(inputs.teacher_sha256())},
              {"data_sha256", data},
              {"threads", numerics.threads()},
              {"compute_path", ComputePathText(numerics.compute_path())},
              {"version", absl::StrCat(std::string(Version()), "+", numerics.numerics_id())}};
}

absl::Status CheckIdentity(const json& saved, const json& now, const std::filesystem::path& directory) {
  if (saved == now) return absl::OkStatus();
  const json before = saved.flatten(), after = now.flatten();
  json keys = before;
  keys.update(after);
  std::vector<std::string> differences;
  for (const auto& [key, unused] : keys.items()) {
    const std::string was = before.contains(key) ? before[key].dump() : "absent";
    const std::string is = after.contains(key) ? after[key].dump() : "absent";
    if (was == is) continue;
    const std::string name =
        absl::StrReplaceAll(key.substr(1), {{"~1", "/"}, {"~0", "~"}});  // a JSON pointer
    differences.push_back(absl::StrCat(name, " was ", was, ", is ", is));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      directory.string(), " holds a run that began otherwise: ", absl::StrJoin(differences, "; "),
      ". Undo the change to go on with it, give another directory with --out, or remove this one"));
}

}  // namespace retort
