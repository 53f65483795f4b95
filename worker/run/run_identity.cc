#include "worker/run/run_identity.h"

#include <google/protobuf/util/json_util.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
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

}  // namespace retort
