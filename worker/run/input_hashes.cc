#include "worker/run/input_hashes.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/job_work.h"
#include "core/base/sha256.h"
#include "core/base/status_macros.h"
#include "core/config/job_file.h"
#include "model/io/weights_directory.h"

namespace retort {
namespace {

std::vector<std::filesystem::path> DatasetFiles(const std::filesystem::path& bin) {
  std::filesystem::path index = bin;
  return {bin, index.replace_extension(".idx")};
}

// The token files in the order of InputHashes.data, as the job writes them and where they lie.
std::vector<std::pair<std::string, std::filesystem::path>> Datasets(const v1::JobSpec& job,
                                                                    const RunInputs& inputs) {
  std::vector<std::pair<std::string, std::filesystem::path>> datasets;
  const std::vector<std::string> train = TrainFiles(job.data());
  for (size_t i = 0; i < train.size(); ++i) datasets.emplace_back(train[i], inputs.train[i]);
  datasets.emplace_back(job.data().eval(), inputs.eval);
  if (!inputs.off_domain.empty()) datasets.emplace_back(job.data().off_domain(), inputs.off_domain);
  return datasets;
}

}  // namespace

absl::StatusOr<RunInputs> ResolveInputs(const v1::JobSpec& job,
                                        const std::vector<std::filesystem::path>& roots) {
  RunInputs inputs;
  ASSIGN_OR_RETURN(inputs.teacher, ResolvePath(job.teacher().path(), roots));
  for (const std::string& written : TrainFiles(job.data())) {
    ASSIGN_OR_RETURN(std::filesystem::path path, ResolvePath(written, roots));
    inputs.train.push_back(std::move(path));
  }
  ASSIGN_OR_RETURN(inputs.eval, ResolvePath(job.data().eval(), roots));
  if (!job.data().off_domain().empty()) {
    ASSIGN_OR_RETURN(inputs.off_domain, ResolvePath(job.data().off_domain(), roots));
  }
  return inputs;
}

absl::StatusOr<v1::InputHashes> InputHasher::Hash(const v1::JobSpec& job, const RunInputs& inputs,
                                                  const std::atomic<bool>& stop) {
  v1::InputHashes hashes;
  ASSIGN_OR_RETURN(const WeightsDirectory weights, WeightsDirectory::Open(inputs.teacher));
  std::vector<std::filesystem::path> teacher_files = {inputs.teacher / "config.json"};
  teacher_files.insert(teacher_files.end(), weights.files().begin(), weights.files().end());
  ASSIGN_OR_RETURN(*hashes.mutable_teacher_sha256(), OfFiles(teacher_files, stop));
  for (const auto& [written, bin] : Datasets(job, inputs)) {
    v1::InputHash& hash = *hashes.add_data();
    hash.set_path(written);
    ASSIGN_OR_RETURN(*hash.mutable_sha256(), OfFiles(DatasetFiles(bin), stop));
  }
  return hashes;
}

absl::StatusOr<std::string> InputHasher::OfFile(const std::filesystem::path& file,
                                                const std::atomic<bool>& stop) {
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(file, error);
  const auto changed =
      error ? std::filesystem::file_time_type() : std::filesystem::last_write_time(file, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot read ", file.string()));
  const auto known = known_.find(file);
  if (known != known_.end() && known->second.bytes == bytes && known->second.changed == changed) {
    return known->second.hex;
  }
  ASSIGN_OR_RETURN(std::string hex, Sha256HexOfFile(file, &stop));
  known_[file] = {bytes, changed, hex};
  return hex;
}

absl::StatusOr<std::string> InputHasher::OfFiles(const std::vector<std::filesystem::path>& files,
                                                 const std::atomic<bool>& stop) {
  Sha256 all;
  for (const std::filesystem::path& file : files) {
    ASSIGN_OR_RETURN(const std::string hex, OfFile(file, stop));
    all.Add(hex);
  }
  return all.Digest();
}

absl::Status CompareInputs(const v1::InputHashes& expected, const v1::InputHashes& found,
                           const RunInputs& inputs) {
  std::vector<std::string> differences;
  const auto compare = [&](const std::string& what, const std::string& is, const std::string& should) {
    if (is == should) return;
    differences.push_back(absl::StrCat(what, " has SHA-256 ", absl::BytesToHexString(is),
                                       ", the run began with ", absl::BytesToHexString(should)));
  };
  compare(absl::StrCat("teacher ", inputs.teacher.string()), found.teacher_sha256(),
          expected.teacher_sha256());
  for (int i = 0; i < found.data_size(); ++i) {
    compare(absl::StrCat("token file ", found.data(i).path()), found.data(i).sha256(),
            i < expected.data_size() ? expected.data(i).sha256() : "");
  }
  if (differences.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(absl::StrJoin(differences, "; "),
                   ". Put the same files under this worker's roots, or submit the job anew"));
}

}  // namespace retort
