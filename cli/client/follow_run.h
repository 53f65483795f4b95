// A run's snapshots and events until it ends, over broken streams and restarts of the orchestrator.
#pragma once

#include <functional>

#include "absl/status/statusor.h"
#include "cli/client/orchestrator.h"

namespace retort {

struct FollowOptions {
  v1::RunRef run = {};
  uint64_t after_sequence = 0;
  // How long the orchestrator may be away: before the first word, and later.
  double first_patience_seconds = kAnswerSeconds;
  double patience_seconds = 600;
};

// Called with each part as it comes and, at least ten times a second, with nullptr. False ends the following.
using OnWatchPart = std::function<bool(const v1::WatchReply* part)>;

// The last snapshot when the run has ended. CANCELLED when `on_part` ended it. A name means the run that it
// meant at the first snapshot. Other errors are the orchestrator's, or that it was away for too long.
absl::StatusOr<v1::RunStatus> FollowRun(Orchestrator& orchestrator, const FollowOptions& options,
                                        const OnWatchPart& on_part);

// Whether a stream that ended so is to be called again (docs/protocol.md: on any end that waiting may
// change).
bool StreamMayPass(const absl::Status& status);

}  // namespace retort
