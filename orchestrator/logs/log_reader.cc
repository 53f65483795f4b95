#include "orchestrator/logs/log_reader.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace retort::orchestrator {
namespace {

constexpr int kMaxLines = 1'000;

}  // namespace

bool LogReader::Passes(const v1::LogRecord& record) const {
  const v1::LogLine& line = record.line();
  const v1::LogLevel min_level =
      request_.min_level() == v1::LOG_LEVEL_UNSPECIFIED ? v1::LOG_LEVEL_INFO : request_.min_level();
  return record.sequence() > request_.after_sequence() && (!run_id_ || line.run_id() == *run_id_) &&
         (request_.worker_name().empty() || line.worker_name() == request_.worker_name()) &&
         (request_.stage() == v1::STAGE_UNSPECIFIED || line.stage() == request_.stage()) &&
         (request_.token() == 0 || line.token() == request_.token()) && line.level() >= min_level &&
         line.time_unix_ms() >= request_.since_unix_ms();
}

LogStore::Place LogReader::FirstPlace() const {
  return {.sequence = request_.after_sequence() == 0 ? 0 : request_.after_sequence() + 1};
}

absl::Status LogReader::Start() {
  is_started_ = true;
  if (request_.after_sequence() > store_.last_sequence()) {
    return absl::OutOfRangeError(absl::StrCat("after_sequence ", request_.after_sequence(),
                                              " is beyond the last log line, ", store_.last_sequence(),
                                              "; begin with 0"));
  }
  place_ = FirstPlace();
  return request_.tail_lines() > 0 ? SkipToTail() : absl::OkStatus();
}

absl::Status LogReader::SkipToTail() {
  uint64_t passing = 0;
  LogStore::Place place = FirstPlace();
  while (true) {
    ASSIGN_OR_RETURN(const LogStore::Batch batch, store_.Read(place));
    if (batch.records.empty()) break;
    for (const v1::LogRecord& record : batch.records) passing += Passes(record);
  }
  if (passing > request_.tail_lines()) lines_to_skip_ = passing - request_.tail_lines();
  return absl::OkStatus();
}

absl::StatusOr<v1::LogsReply> LogReader::Next() {
  if (!is_started_) RETURN_IF_ERROR(Start());
  v1::LogsReply reply;
  while (reply.lines_size() < kMaxLines) {
    if (read_.empty()) {
      if (!reply.lines().empty()) break;  // rather than wait for a full reply
      ASSIGN_OR_RETURN(LogStore::Batch batch, store_.Read(place_));
      reply.set_dropped_lines(reply.dropped_lines() + batch.overtaken_lines);
      if (batch.records.empty()) break;
      std::move(batch.records.begin(), batch.records.end(), std::back_inserter(read_));
    }
    v1::LogRecord record = std::move(read_.front());
    read_.pop_front();
    reply.set_last_sequence(record.sequence());
    if (!Passes(record)) continue;
    if (lines_to_skip_ > 0) {
      --lines_to_skip_;
      continue;
    }
    reply.set_dropped_lines(reply.dropped_lines() + record.dropped_lines());
    *reply.add_lines() = std::move(*record.mutable_line());
  }
  return reply;
}

}  // namespace retort::orchestrator
