// Which workers there are, how they stay, and what time takes away: Register, Heartbeat, Leave, and the sweep
// that a timer calls.
#pragma once

#include "orchestrator/state/changes.h"
#include "retort/v1/worker_service.pb.h"

namespace retort::orchestrator {

// Nothing durable but the events: workers are not stored. Another worker_id under the name of a registered
// worker, or of one that holds a lease, replaces it.
Decision<v1::RegisterReply> DecideRegister(const Moment& now, const State& state, const Options& options,
                                           const v1::RegisterRequest& request);

// Renews, in memory only: is_durable() is false for every heartbeat.
Decision<v1::HeartbeatReply> DecideHeartbeat(const Moment& now, const State& state, const Options& options,
                                             const v1::HeartbeatRequest& request);

// Accepted under any epoch up to this one, and from a worker that is not registered: it names a process that
// is about to end, and ids are not drawn twice.
Decision<v1::LeaveReply> DecideLeave(const Moment& now, const State& state, const Options& options,
                                     const v1::LeaveRequest& request);

// Ends leases whose time is over, revokes what was not yielded in time, loses silent workers, forgets old
// request ids. All that is due at `now`, in one decision.
Decision<NoReply> DecideSweep(const Moment& now, const State& state, const Options& options);

// The earliest time, by the monotonic clock, at which DecideSweep or DecideReplan can have something to do if
// nothing else happens; a virtual clock jumps there. Later than `now`.
int64_t NextDueSteadyMs(const Moment& now, const State& state, const Options& options);

}  // namespace retort::orchestrator
