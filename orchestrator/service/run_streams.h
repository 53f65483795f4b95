// What RunService streams: sources of replies, each for one call. Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "orchestrator/coordinator/coordinator.h"
#include "orchestrator/logs/log_reader.h"
#include "orchestrator/service/reply_stream.h"

namespace retort::orchestrator {

// A snapshot, then events, each once and in order, and another snapshot when something has changed, at most
// one a second; at the end the last one.
class WatchSource {
 public:
  WatchSource(Coordinator& coordinator, const v1::WatchRequest& request)
      : coordinator_(coordinator), ref_(request.run()), seen_(request.after_sequence()) {}

  absl::StatusOr<Next> operator()(v1::WatchReply& reply);

 private:
  // Whether there is one to send.
  absl::StatusOr<bool> TakeSnapshot(v1::WatchReply& reply);

  Coordinator& coordinator_;
  const v1::RunRef ref_;
  std::optional<uint64_t> run_id_;
  uint64_t seen_;  // sequence of the last event that was taken
  std::deque<v1::Event> events_;
  bool is_last_ = false;     // there are no events after events_
  bool is_closing_ = false;  // the last snapshot was taken
  std::string snapshot_;     // as sent last
  int64_t snapshot_steady_ms_ = 0;
};

// Kept lines, and those that come until the run, if one is named, has ended and its workers had time to send
// their last ones.
class LogSource {
 public:
  LogSource(Coordinator& coordinator, const LogStore& logs, v1::LogsRequest request)
      : coordinator_(coordinator), logs_(logs), request_(std::move(request)) {}

  absl::StatusOr<Next> operator()(v1::LogsReply& reply);

 private:
  Coordinator& coordinator_;
  const LogStore& logs_;
  const v1::LogsRequest request_;
  std::optional<uint64_t> run_id_;
  std::optional<LogReader> reader_;
  std::optional<int64_t> over_steady_ms_;
};

class DownloadSource {
 public:
  DownloadSource(Coordinator& coordinator, v1::DownloadRequest request)
      : coordinator_(coordinator), request_(std::move(request)) {}

  absl::StatusOr<Next> operator()(v1::DownloadReply& reply);

 private:
  Coordinator& coordinator_;
  const v1::DownloadRequest request_;
  std::unique_ptr<ResultReader> reader_;
};

}  // namespace retort::orchestrator
