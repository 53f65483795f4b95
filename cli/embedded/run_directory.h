// What lies in the directory of a run: a finished result, or the state of its service.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "retort/v1/run_service.pb.h"

namespace retort {

// result.json; null when there is none. DATA_LOSS when it is not a whole one.
absl::StatusOr<nlohmann::json> ReadResult(const std::filesystem::path& out_dir);

// A job as results hold it, without its name and how often it is saved, which change no number, and without
// the layers that a probe chose, which nobody asked for.
nlohmann::json JobIdentity(const v1::JobSpec& job);

// "data/seed was 7, is 8" for each value that differs.
std::vector<std::string> Differences(const nlohmann::json& was, const nlohmann::json& is);

// FAILED_PRECONDITION that names them and says what to do; OK when there are none.
absl::Status RefuseDifferences(const std::filesystem::path& out_dir,
                               const std::vector<std::string>& differences);

// What the command asks for against what a finished run was; `threads` is 0 when the user did not say.
std::vector<std::string> DifferencesFromResult(const nlohmann::json& result, const v1::JobSpec& job,
                                               int threads);

// The same against a run that is under way.
std::vector<std::string> DifferencesFromRun(const v1::GetReply& run, const v1::JobSpec& job, int threads);

// Whether anything of the run's training is saved.
bool HasSavedSteps(const v1::RunStatus& run);

}  // namespace retort
