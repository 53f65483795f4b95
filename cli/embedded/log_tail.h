// The workers' log lines of a run's last stage as they come: what they measured, which snapshots do not tell.
// Used by one thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cli/client/orchestrator.h"
#include "cli/client/server_stream.h"

namespace retort {

class LogTail {
 public:
  // Of lines from `since_unix_ms` on. `orchestrator` outlives this object.
  LogTail(Orchestrator& orchestrator, uint64_t run_id, int64_t since_unix_ms);

  // Gives each line that has come to `on_line`; does not wait. A broken stream is begun again later, behind
  // the last line.
  void Poll(const std::function<void(const std::string& text)>& on_line);

 private:
  Orchestrator& orchestrator_;
  v1::LogsRequest request_;
  std::unique_ptr<ServerStream<v1::LogsReply>> stream_;
  double start_at_seconds_ = 0;  // when there is no stream
};

}  // namespace retort
