// What a job's inputs hold, as hashes: PREPARE reports them, and every slice compares its own with them.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "retort/v1/job.pb.h"
#include "retort/v1/work.pb.h"

namespace retort {

// Where the inputs of a job lie.
struct RunInputs {
  std::filesystem::path teacher;
  std::vector<std::filesystem::path> train;  // TrainFiles
  std::filesystem::path eval;
  std::filesystem::path off_domain;  // empty: none
};

// NOT_FOUND names the places looked at.
absl::StatusOr<RunInputs> ResolveInputs(const v1::JobSpec& job,
                                        const std::vector<std::filesystem::path>& roots);

// Keeps each file's hash for as long as its size and its time of last change stay what they were, so that
// slices after the first cost nothing. Not thread-safe.
class InputHasher {
 public:
  // CANCELLED between two files once `stop` is set; NOT_FOUND and the like for a file that is not there.
  absl::StatusOr<v1::InputHashes> Hash(const v1::JobSpec& job, const RunInputs& inputs,
                                       const std::atomic<bool>& stop);

 private:
  struct Known {
    uintmax_t bytes;
    std::filesystem::file_time_type changed;
    std::string hex;
  };
  // 64 hexadecimal digits.
  absl::StatusOr<std::string> OfFile(const std::filesystem::path& file, const std::atomic<bool>& stop);
  // The 32 bytes over the hexadecimal digits of all.
  absl::StatusOr<std::string> OfFiles(const std::vector<std::filesystem::path>& files,
                                      const std::atomic<bool>& stop);

  std::map<std::filesystem::path, Known> known_;
};

// FAILED_PRECONDITION names each input of `found`, which lies at `inputs`, that has another hash than in
// `expected`, with both.
absl::Status CompareInputs(const v1::InputHashes& expected, const v1::InputHashes& found,
                           const RunInputs& inputs);

}  // namespace retort
