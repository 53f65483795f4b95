// What a job would do, or what is left of a run, on the workers that are registered: RunService.Plan. The
// same costs and the same cut as the scheduler's. Changes nothing.
#pragma once

#include "absl/status/statusor.h"
#include "orchestrator/state/state.h"
#include "retort/v1/run_service.pb.h"

namespace retort::orchestrator {

// As if the run had all workers that it may be offered. FAILED_PRECONDITION: not prepared, or ended;
// INVALID_ARGUMENT: the job does not fit the shape.
absl::StatusOr<v1::PlanReply> MakePlan(const Moment& now, const State& state, const Options& options,
                                       const v1::PlanRequest& request);

}  // namespace retort::orchestrator
