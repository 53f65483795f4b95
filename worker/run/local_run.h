// A whole job in one process: all three stages, measured before the first and after each, resumable.
#pragma once

#include <atomic>
#include <filesystem>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/progress.h"
#include "retort/v1/job.pb.h"

namespace retort {

struct LocalRunOptions {
  v1::JobSpec job;
  std::vector<std::filesystem::path>
      roots;  // where relative paths of the job lie; the job file's directory first
  std::filesystem::path out_dir;
  int threads = 0;  // 0: as the run began, or all cores; part of the run's numbers
};

enum class RunEnd {
  kCompleted,    // student/, result.json and metrics.jsonl are in out_dir; also when they already were
  kInterrupted,  // `stop` was set: the last applied step is saved, and the same call goes on from there
  kInterruptedUnsaved,  // `stop` was set before there was anything to save
};

// Runs the job, or goes on with it, in `out_dir`. A resumed run ends in the same bytes as an undisturbed one.
// Errors: NOT_FOUND and INVALID_ARGUMENT for a teacher or data that do not fit; FAILED_PRECONDITION when
// another process uses out_dir, or it holds a run of another job, teacher, data or thread count; INTERNAL,
// RESOURCE_EXHAUSTED or DATA_LOSS when training itself fails (train/stages/guards.h).
absl::StatusOr<RunEnd> RunLocally(const LocalRunOptions& options, Progress& progress,
                                  const std::atomic<bool>& stop);

}  // namespace retort
