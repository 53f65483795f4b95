#include "cli/embedded/log_tail.h"

#include "absl/strings/match.h"
#include "cli/client/read_logs.h"
#include "core/base/clock.h"
#include "core/base/job_work.h"

namespace retort {

LogTail::LogTail(Orchestrator& orchestrator, uint64_t run_id, int64_t since_unix_ms)
    : orchestrator_(orchestrator) {
  request_.mutable_run()->set_id(run_id);
  request_.set_since_unix_ms(since_unix_ms);
  request_.set_follow(true);
}

void LogTail::Poll(const std::function<void(const std::string& text)>& on_line) {
  using Stream = ServerStream<v1::LogsReply>;
  constexpr double kAgainAfterSeconds = 1;
  if (stream_ == nullptr) {
    if (MonotonicSeconds() < start_at_seconds_) return;
    stream_ = std::make_unique<Stream>([this](grpc::ClientContext* context, grpc::CompletionQueue* queue) {
      return orchestrator_.stub().AsyncLogs(context, request_, queue, nullptr);
    });
  }
  v1::LogsReply reply;
  Stream::Step step;
  while ((step = stream_->Read(reply, std::chrono::milliseconds(0))) == Stream::Step::kMessage) {
    for (const v1::LogLine& line : reply.lines()) {
      if (IsNoteworthy(line)) on_line(line.text());
    }
    MoveBehind(reply, request_);
  }
  if (step == Stream::Step::kEnd) {
    stream_.reset();
    start_at_seconds_ = MonotonicSeconds() + kAgainAfterSeconds;
  }
}

bool LogTail::IsNoteworthy(const v1::LogLine& line) {
  constexpr size_t kBeginning = 40;
  constexpr double kWarnAgainSeconds = 60;
  if (line.worker_name().empty()) return false;
  if (line.level() < v1::LOG_LEVEL_WARNING) {
    return line.stage() == v1::STAGE_END_TO_END || absl::StartsWith(line.text(), kProbeLine);
  }
  const std::string warning = line.text().substr(0, kBeginning);
  const double now = MonotonicSeconds();
  if (warning == warning_ && now - warned_seconds_ < kWarnAgainSeconds) return false;
  warning_ = warning;
  warned_seconds_ = now;
  return true;
}

}  // namespace retort
