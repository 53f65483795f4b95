// The kept lines that a LogsRequest asks for, and, with `follow`, those that come. Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "absl/status/statusor.h"
#include "orchestrator/logs/log_store.h"
#include "retort/v1/run_service.pb.h"

namespace retort::orchestrator {

class LogReader {
 public:
  // `run_id`: of the run that the request names; nullopt: it names none.
  LogReader(const LogStore& store, v1::LogsRequest request, std::optional<uint64_t> run_id)
      : store_(store), request_(std::move(request)), run_id_(run_id) {}

  // At most 1,000 lines; a reply without lines: there are no more now. OUT_OF_RANGE: the request goes on
  // behind a record that was never kept here.
  absl::StatusOr<v1::LogsReply> Next();

 private:
  bool Passes(const v1::LogRecord& record) const;
  LogStore::Place FirstPlace() const;
  absl::Status Start();
  absl::Status SkipToTail();

  const LogStore& store_;
  const v1::LogsRequest request_;
  const std::optional<uint64_t> run_id_;
  LogStore::Place place_;
  std::deque<v1::LogRecord> read_;  // and not looked at yet
  bool is_started_ = false;
  uint64_t lines_to_skip_ = 0;  // of those that pass, so that only the tail is left
};

}  // namespace retort::orchestrator
