// How a worker ends its lease before the last step: Fail and ReleaseLease.
#pragma once

#include "orchestrator/state/changes.h"
#include "retort/v1/worker_service.pb.h"

namespace retort::orchestrator {

// The whole lease ends: the named layers with the cause, the others with SLICE_ENDED.
Decision<v1::FailReply> DecideFail(const Moment& now, const State& state, const Options& options,
                                   const v1::FailRequest& request);

// The named layers end with the cause. INVALID_ARGUMENT when what remains would have a hole that others could
// be granted.
Decision<v1::ReleaseLeaseReply> DecideReleaseLease(const Moment& now, const State& state,
                                                   const Options& options,
                                                   const v1::ReleaseLeaseRequest& request);

}  // namespace retort::orchestrator
