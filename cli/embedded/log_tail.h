// The workers' log lines of a run that its user should see as they come: those of the last stage, which say
// what was measured, and warnings of any, such as that the disk is full. Used by one thread.
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
  // A warning that begins as the last one did is shown again after a minute: causes that last are repeated.
  bool IsNoteworthy(const v1::LogLine& line);

  Orchestrator& orchestrator_;
  v1::LogsRequest request_;
  std::unique_ptr<ServerStream<v1::LogsReply>> stream_;
  double start_at_seconds_ = 0;  // when there is no stream
  std::string warning_;          // how the last one shown begins
  double warned_seconds_ = 0;
};

}  // namespace retort
