#include "orchestrator/service/run_streams.h"

#include "core/base/status_macros.h"
#include "orchestrator/service/clock.h"

namespace retort::orchestrator {
namespace {

constexpr size_t kEventsAtOnce = 100;
constexpr int64_t kSnapshotIntervalMs = 1'000;
// A worker ships its lines once a second.
constexpr int64_t kLastLinesMs = 2'000;

}  // namespace

absl::StatusOr<bool> WatchSource::TakeSnapshot(v1::WatchReply& reply) {
  ASSIGN_OR_RETURN(*reply.mutable_snapshot(), coordinator_.StatusOfRun(*run_id_));
  snapshot_steady_ms_ = SteadyMs();
  std::string bytes = reply.snapshot().SerializeAsString();
  if (bytes == snapshot_) return false;
  snapshot_ = std::move(bytes);
  return true;
}

absl::StatusOr<Next> WatchSource::operator()(v1::WatchReply& reply) {
  if (!run_id_) {
    ASSIGN_OR_RETURN(run_id_, coordinator_.ResolveRun(ref_));
    RETURN_IF_ERROR(coordinator_.Watch(*run_id_, seen_, 0).status());
    RETURN_IF_ERROR(TakeSnapshot(reply).status());
    return Next::kReply;
  }
  if (events_.empty() && !is_last_) {
    ASSIGN_OR_RETURN(WatchStep step, coordinator_.Watch(*run_id_, seen_, kEventsAtOnce));
    for (v1::Event& event : step.events) {
      seen_ = event.sequence();
      events_.push_back(std::move(event));
    }
    is_last_ = step.is_last;
  }
  if (!events_.empty()) {
    *reply.mutable_event() = std::move(events_.front());
    events_.pop_front();
    return Next::kReply;
  }
  if (is_closing_) return Next::kEnd;
  if (!is_last_ && SteadyMs() < snapshot_steady_ms_ + kSnapshotIntervalMs) return Next::kLater;
  is_closing_ = is_last_;
  ASSIGN_OR_RETURN(const bool has_changed, TakeSnapshot(reply));
  return has_changed || is_closing_ ? Next::kReply : Next::kLater;
}

absl::StatusOr<Next> LogSource::operator()(v1::LogsReply& reply) {
  if (!reader_) {
    if (request_.has_run()) {
      ASSIGN_OR_RETURN(run_id_, coordinator_.ResolveRun(request_.run()));
    }
    reader_.emplace(logs_, request_, run_id_);
  }
  // Before reading: what came before it is read now.
  bool is_over = false;
  if (request_.follow() && run_id_) {
    ASSIGN_OR_RETURN(is_over, coordinator_.IsOver(*run_id_));
  }
  ASSIGN_OR_RETURN(reply, reader_->Next());
  if (!reply.lines().empty() || reply.dropped_lines() > 0) return Next::kReply;
  if (!request_.follow()) return Next::kEnd;
  if (!is_over) return Next::kLater;
  if (!over_steady_ms_) over_steady_ms_ = SteadyMs();
  return SteadyMs() >= *over_steady_ms_ + kLastLinesMs ? Next::kEnd : Next::kLater;
}

absl::StatusOr<Next> DownloadSource::operator()(v1::DownloadReply& reply) {
  if (reader_ == nullptr) {
    ASSIGN_OR_RETURN(reader_, coordinator_.Download(request_));
    *reply.mutable_files() = reader_->files();
    return Next::kReply;
  }
  ASSIGN_OR_RETURN(std::optional<v1::FileChunk> chunk, reader_->Next());
  if (!chunk) return Next::kEnd;
  *reply.mutable_chunk() = *std::move(chunk);
  return Next::kReply;
}

}  // namespace retort::orchestrator
