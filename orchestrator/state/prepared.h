// What completing rows does: the end of their part of the lease, and after PREPARE the run's other tasks.
// Part of DecideComplete: edits a Draft.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "orchestrator/state/draft.h"
#include "retort/v1/worker_service.pb.h"

namespace retort::orchestrator {

// `layers` are held by the lease. FAILED_PRECONDITION when one has not reached its total or the result is
// missing; INVALID_ARGUMENT when `prepared` is not exactly there or incomplete.
absl::Status CompleteRows(Draft& draft, const Lease& lease, const std::vector<uint32_t>& layers,
                          const v1::CompleteRequest& request);

// The tasks of a prepared run: one for each converted layer in each of stages 1 and 2 that the job has, and
// END_TO_END. INVALID_ARGUMENT when the job does not fit the shape.
absl::StatusOr<std::vector<v1::TaskRecord>> MakeTasks(const v1::RunRecord& run);

}  // namespace retort::orchestrator
