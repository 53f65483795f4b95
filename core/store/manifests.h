// Which manifests are kept: of a task the last and the best, and the run's result; of a SUCCEEDED run the
// result alone, of a CANCELLED one nothing. The others are deleted in the transaction that makes them
// superfluous. Errors: those of record_reader.h.
#pragma once

#include "absl/status/status.h"
#include "core/store/transaction.h"

namespace retort {

// Deletes the task's manifests that neither `task` (as the transaction leaves it) nor the run's
// result_publish names.
absl::Status DeleteSupersededManifests(Transaction& transaction, const v1::TaskRecord& task,
                                       uint64_t result_publish);

// Deletes what `run`, as the transaction leaves it, does not keep in its state: something only when that is
// SUCCEEDED or CANCELLED.
absl::Status DeleteManifestsOfEndedRun(Transaction& transaction, const v1::RunRecord& run);

// Deletes all of a run's.
absl::Status DeleteManifestsOfRun(Transaction& transaction, uint64_t run_id);

}  // namespace retort
