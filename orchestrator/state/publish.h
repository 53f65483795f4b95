// What a holder makes count: checkpoints, the result, and that its rows are done. Digests, missing tensors
// and bytes are the store's; here are the rows.
#pragma once

#include "orchestrator/state/changes.h"
#include "retort/v1/worker_service.pb.h"

namespace retort::orchestrator {

// Checks caller, rows, steps and identity: whether the store may begin a publish. The number and what is
// missing are the store's to say.
Decision<NoReply> DecideBeginPublish(const Moment& now, const State& state, const Options& options,
                                     const v1::BeginPublishRequest& request);

// `begun`: the request that began the publish of this number, whose bytes the store has; nullptr: there is
// none under way (NOT_FOUND, unless the rows say that it counts already). The manifests go into the same
// batch.
Decision<v1::CommitPublishReply> DecideCommitPublish(const Moment& now, const State& state,
                                                     const Options& options,
                                                     const v1::CommitPublishRequest& request,
                                                     const v1::BeginPublishRequest* begun);

// PREPARE: makes the run's other tasks, or fails the run when the job does not fit the teacher's shape.
Decision<v1::CompleteReply> DecideComplete(const Moment& now, const State& state, const Options& options,
                                           const v1::CompleteRequest& request);

}  // namespace retort::orchestrator
