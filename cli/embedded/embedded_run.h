// A whole job on this machine, by an orchestrator and workers that live as long as this call: the same path
// as a cluster's. All of it is in one directory, so the same call goes on with it.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/progress.h"
#include "retort/v1/job.pb.h"
#include "retort/v1/run_service.pb.h"

namespace retort {

struct EmbeddedRunOptions {
  v1::JobSpec job;
  std::vector<std::filesystem::path> roots;  // where relative paths of the job lie
  std::filesystem::path out_dir;
  std::filesystem::path bin_dir;  // of retort-orchestrator and retort-worker
  int workers = 0;                // 0: two when there are two cores, else one
  int threads = 0;                // of each worker; 0: as the run began, or the cores shared out
};

enum class RunEnd {
  kCompleted,           // student/, result.json and metrics.jsonl are in out_dir; also when they already were
  kInterrupted,         // `stop` was set: what was trained is saved, and the same call goes on from there
  kInterruptedUnsaved,  // `stop` was set before anything was saved
};

// Submits the job, or goes on with the run in `out_dir`, whose state lies in out_dir/service until it has
// succeeded. A run that had failed is retried. To be called by the process's first thread (Child).
//   INVALID_ARGUMENT     stage 3 wants more workers than `workers`; nothing was started
//   FAILED_PRECONDITION  another process uses out_dir, it holds another run, or no worker takes the inputs
//   INTERNAL             the run has failed: its message
//   CANCELLED            somebody cancelled the run
//   others               what the services themselves end with (JudgeEnd), or the disk
absl::StatusOr<RunEnd> RunEmbedded(const EmbeddedRunOptions& options, Progress& progress,
                                   const std::atomic<bool>& stop);

// What each worker gets of the machine.
struct CoreShares {
  int workers;
  int threads;
  uint64_t memory_bytes;
};
// `asked_workers` and `asked_threads` are 0 where nobody asked.
CoreShares ShareCores(int cores, uint64_t memory_bytes, int asked_workers, int asked_threads);
// Of this machine.
CoreShares ShareMachine(int asked_workers, int asked_threads);

// INVALID_ARGUMENT when the job's stage 3 wants more workers than there will be.
absl::Status CheckRanksHaveWorkers(const v1::JobSpec& job, int workers);

// "run tiny has failed: ..." with what its tasks say.
absl::Status RunFailure(const v1::RunStatus& run);

}  // namespace retort
