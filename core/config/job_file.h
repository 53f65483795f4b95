// The job file: YAML (docs/job.md) -> v1.JobSpec, checked and with every default filled in. Thread-safe.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "retort/v1/job.pb.h"

namespace retort {

// Reads and checks a job file. The files it names must exist, under the job file's directory or else under a
// root; the spec keeps their paths as written, for ResolvePath. Errors: NOT_FOUND when the job file itself
// does not exist; INVALID_ARGUMENT with every error found in it, one a line, "FILE:LINE:COLUMN: what; why;
// what to do".
absl::StatusOr<v1::JobSpec> LoadJob(const std::filesystem::path& file,
                                    const std::vector<std::filesystem::path>& roots);

// The same without a look at the files that it names: they lie where the workers are.
absl::StatusOr<v1::JobSpec> LoadJobAlone(const std::filesystem::path& file);

// Where a path of a job lies: an absolute one as it stands, a relative one under the first of `roots` that
// has it. NOT_FOUND names all places looked at.
absl::StatusOr<std::filesystem::path> ResolvePath(std::string_view written,
                                                  const std::vector<std::filesystem::path>& roots);

}  // namespace retort
