#include "cli/client/read_logs.h"

#include <algorithm>

#include "cli/client/follow_run.h"
#include "cli/client/server_stream.h"
#include "core/base/clock.h"

namespace retort {
namespace {

constexpr std::chrono::milliseconds kTick{100};

absl::Status Stopped() { return absl::CancelledError("the reading was ended"); }

// One reading over any number of streams.
class Reading {
 public:
  Reading(Orchestrator& orchestrator, const ReadLogsOptions& options, const OnLogs& on_logs)
      : orchestrator_(orchestrator), options_(options), on_logs_(on_logs), request_(options.request) {}

  absl::Status Run() {
    double silent_since = MonotonicSeconds();
    Repeats first(silent_since, options_.first_patience_seconds);
    Repeats later(silent_since, options_.patience_seconds);
    while (true) {
      heard_ = false;
      const absl::Status status = ReadStream();
      if (stopped_) return Stopped();
      if (absl::IsOutOfRange(status) && request_.after_sequence() > 0) {
        request_.clear_after_sequence();
        request_.set_since_unix_ms(std::max(request_.since_unix_ms(), last_line_unix_ms_ + 1));
        continue;
      }
      if (status.ok() || !StreamMayPass(status)) return status;
      const double now = MonotonicSeconds();
      if (heard_) {
        silent_since = now;
        later.Succeeded(now);
      }
      const double wait = (ever_heard_ ? later : first).AfterFailure(now, DrawRandom());
      if (wait < 0) return Unreachable(orchestrator_.address(), status, now - silent_since);
      if (!orchestrator_.WaitToRepeat(wait, [this] { return on_logs_(nullptr); })) return Stopped();
    }
  }

 private:
  absl::Status ReadStream() {
    ServerStream<v1::LogsReply> stream([this](grpc::ClientContext* context, grpc::CompletionQueue* queue) {
      return orchestrator_.stub().AsyncLogs(context, request_, queue, nullptr);
    });
    const std::optional<absl::Status> end = stream.ReadAll(kTick, [this](const v1::LogsReply* reply) {
      if (reply != nullptr) Take(*reply);
      return on_logs_(reply);
    });
    stopped_ = !end;
    return end.value_or(absl::OkStatus());
  }

  void Take(const v1::LogsReply& reply) {
    heard_ = ever_heard_ = true;
    MoveBehind(reply, request_);
    if (!reply.lines().empty()) last_line_unix_ms_ = reply.lines().rbegin()->time_unix_ms();
  }

  Orchestrator& orchestrator_;
  const ReadLogsOptions& options_;
  const OnLogs& on_logs_;
  v1::LogsRequest request_;
  int64_t last_line_unix_ms_ = -1;
  bool heard_ = false, ever_heard_ = false, stopped_ = false;
};

}  // namespace

absl::Status ReadLogs(Orchestrator& orchestrator, const ReadLogsOptions& options, const OnLogs& on_logs) {
  return Reading(orchestrator, options, on_logs).Run();
}

void MoveBehind(const v1::LogsReply& reply, v1::LogsRequest& request) {
  request.set_after_sequence(std::max(request.after_sequence(), reply.last_sequence()));
  request.clear_tail_lines();
  if (request.has_run() && !reply.lines().empty()) request.mutable_run()->set_id(reply.lines(0).run_id());
}

}  // namespace retort
