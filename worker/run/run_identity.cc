#include "worker/run/run_identity.h"

#include <google/protobuf/util/json_util.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "core/base/check.h"
#include "core/base/sha256.h"
#include "core/base/status_macros.h"
#include "core/base/version.h"
#include "core/config/job_file.h"
#include "model/io/weights_directory.h"
#include "model/ops/compute_path.h"
#include "worker/run/numerics_id.h"

namespace retort {
namespace {

using nlohmann::json;

absl::StatusOr<std::string> HashFiles(const std::vector<std::filesystem::path>& files) {
  std::string hashes;
  for (const std::filesystem::path& file : files) {
    ASSIGN_OR_RETURN(const std::string hash, Sha256HexOfFile(file));
    hashes += hash;
  }
  return Sha256Hex(hashes);
}

absl::StatusOr<std::string> HashDataset(const std::filesystem::path& bin) {
  std::filesystem::path index = bin;
  return HashFiles({bin, index.replace_extension(".idx")});
}

}  // namespace

absl::StatusOr<RunInputs> ResolveInputs(const v1::JobSpec& job,
                                        const std::vector<std::filesystem::path>& roots) {
  RunInputs inputs;
  ASSIGN_OR_RETURN(inputs.teacher, ResolvePath(job.teacher().path(), roots));
  for (const std::string& written : job.data().train()) {
    ASSIGN_OR_RETURN(std::filesystem::path path, ResolvePath(written, roots));
    inputs.train.push_back(std::move(path));
  }
  ASSIGN_OR_RETURN(inputs.eval, ResolvePath(job.data().eval(), roots));
  if (!job.data().off_domain().empty()) {
    ASSIGN_OR_RETURN(inputs.off_domain, ResolvePath(job.data().off_domain(), roots));
  }
  return inputs;
}

absl::StatusOr<json> RunIdentity(const v1::JobSpec& job, const RunInputs& inputs, int threads) {
  v1::JobSpec deciding = job;
  deciding.clear_name();
  deciding.clear_checkpoint();
  std::string text;
  RETORT_CHECK(google::protobuf::util::MessageToJsonString(deciding, &text).ok()) << job.name();

  ASSIGN_OR_RETURN(const WeightsDirectory weights, WeightsDirectory::Open(inputs.teacher));
  std::vector<std::filesystem::path> teacher_files = {inputs.teacher / "config.json"};
  teacher_files.insert(teacher_files.end(), weights.files().begin(), weights.files().end());
  ASSIGN_OR_RETURN(const std::string teacher_hash, HashFiles(teacher_files));

  json data = json::object();
  for (int i = 0; i < job.data().train_size(); ++i) {
    ASSIGN_OR_RETURN(data[job.data().train(i)], HashDataset(inputs.train[i]));
  }
  ASSIGN_OR_RETURN(data[job.data().eval()], HashDataset(inputs.eval));
  if (!inputs.off_domain.empty()) {
    ASSIGN_OR_RETURN(data[job.data().off_domain()], HashDataset(inputs.off_domain));
  }
  return json{
      {"job", json::parse(text)},      {"teacher_sha256", teacher_hash},
      {"data_sha256", data},           {"threads", threads},
      {"compute_path", ComputePath()}, {"version", absl::StrCat(std::string(Version()), "+", NumericsId())}};
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
