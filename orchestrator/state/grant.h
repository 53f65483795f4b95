// Lease: what a worker is given next, by the plan.
#pragma once

#include "orchestrator/state/changes.h"
#include "retort/v1/worker_service.pb.h"

namespace retort::orchestrator {

// The lease that stands under the worker's id, or a new one, or none with the reason why. The first grant of
// a training stage fixes the run's numerics and identity.
Decision<v1::LeaseReply> DecideLease(const Moment& now, const State& state, const Options& options,
                                     const v1::LeaseRequest& request);

// SHA-256, 32 bytes, of what decides a run's bits.
std::string IdentitySha256(const v1::RunRecord& run);

}  // namespace retort::orchestrator
