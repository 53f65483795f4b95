// What decides a run's numbers. A checkpoint or a result belongs to a job only when these agree.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "retort/v1/job.pb.h"

namespace retort {

// Where the inputs of a job lie.
struct RunInputs {
  std::filesystem::path teacher;
  std::vector<std::filesystem::path> train;
  std::filesystem::path eval;
  std::filesystem::path off_domain;  // empty: none
};

// NOT_FOUND names the places looked at.
absl::StatusOr<RunInputs> ResolveInputs(const v1::JobSpec& job,
                                        const std::vector<std::filesystem::path>& roots);

// {job, teacher_sha256, data_sha256{path}, threads, compute_path, version}; `job` leaves out its name and how
// often it is saved, which change no number; `version` is the program's with NumericsId().
absl::StatusOr<nlohmann::json> RunIdentity(const v1::JobSpec& job, const RunInputs& inputs, int threads);

// OK when equal; else FAILED_PRECONDITION that names each value that differs in `directory` and what to do.
absl::Status CheckIdentity(const nlohmann::json& saved, const nlohmann::json& now,
                           const std::filesystem::path& directory);

}  // namespace retort
