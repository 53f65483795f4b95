// Log lines as an orchestrator keeps them, each once and in order, over broken streams and restarts of it.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "cli/client/orchestrator.h"

namespace retort {

struct ReadLogsOptions {
  v1::LogsRequest request = {};
  // How long the orchestrator may be away: before the first word, and later.
  double first_patience_seconds = kAnswerSeconds;
  double patience_seconds = 600;
};

// Called with each reply as it comes and, at least ten times a second, with nullptr. False ends the reading.
using OnLogs = std::function<bool(const v1::LogsReply* reply)>;

// Returns when there are no more lines, with `follow` when the run has ended. CANCELLED when `on_logs` ended
// it. A name means the run that it meant when its first line came. Other errors are the orchestrator's, or
// that it was away for too long. When its newest lines are lost (a power cut, another store), reading goes on
// with lines that are later than the last one that came.
absl::Status ReadLogs(Orchestrator& orchestrator, const ReadLogsOptions& options, const OnLogs& on_logs);

// Moves `request` behind `reply`, so that a new stream goes on there.
void MoveBehind(const v1::LogsReply& reply, v1::LogsRequest& request);

}  // namespace retort
