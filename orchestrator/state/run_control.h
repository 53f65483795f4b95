// What users ask for. Every call is idempotent by request_id: its record is written with the effect, and a
// repeated call gets the reply that is kept.
#pragma once

#include "absl/status/statusor.h"
#include "orchestrator/state/changes.h"
#include "retort/v1/run_service.pb.h"

namespace retort::orchestrator {

// The run's id. NOT_FOUND names it.
absl::StatusOr<uint64_t> ResolveRun(const State& state, const v1::RunRef& ref);

Decision<v1::SubmitReply> DecideSubmit(const Moment& now, const State& state, const Options& options,
                                       const v1::SubmitRequest& request);
Decision<v1::PauseReply> DecidePause(const Moment& now, const State& state, const Options& options,
                                     const v1::PauseRequest& request);
Decision<v1::ResumeReply> DecideResume(const Moment& now, const State& state, const Options& options,
                                       const v1::ResumeRequest& request);
Decision<v1::CancelReply> DecideCancel(const Moment& now, const State& state, const Options& options,
                                       const v1::CancelRequest& request);
// FAILED_PRECONDITION also when a newer run of the name has not ended.
Decision<v1::RetryReply> DecideRetry(const Moment& now, const State& state, const Options& options,
                                     const v1::RetryRequest& request);
// Of a run that has ended and of which no lease stands.
Decision<v1::DeleteReply> DecideDelete(const Moment& now, const State& state, const Options& options,
                                       const v1::DeleteRequest& request);
// In memory only: a restart forgets a drain that no heartbeat has told yet.
Decision<v1::DrainWorkerReply> DecideDrainWorker(const Moment& now, const State& state,
                                                 const Options& options,
                                                 const v1::DrainWorkerRequest& request);

}  // namespace retort::orchestrator
