#include "core/base/log.h"

#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/base/plain_text.h"
#include "core/base/work_names.h"

namespace retort {
namespace {

// Limits of a ShipLogs (docs/protocol.md).
constexpr size_t kMaxBatchLines = 1000;
constexpr size_t kMaxBatchBytes = size_t{1} << 20;

const char* LevelName(v1::LogLevel level) {
  switch (level) {
    case v1::LOG_LEVEL_DEBUG:
      return "DEBUG";
    case v1::LOG_LEVEL_WARNING:
      return "WARNING";
    case v1::LOG_LEVEL_ERROR:
      return "ERROR";
    default:
      return "INFO";
  }
}

}  // namespace

void Log::Write(v1::LogLevel level, absl::string_view text, const LogContext& context) {
  if (level < min_level_) return;
  v1::LogLine line;
  line.set_level(level);
  line.set_text(LogText(text));
  line.set_run_id(context.run_id);
  line.set_stage(context.stage);
  line.set_token(context.token);
  line.set_step(context.step);
  MutexLock lock(mutex_);
  line.set_time_unix_ms(now_unix_ms_());
  for (const LogSink& sink : sinks_) sink(line);
}

std::string LogText(absl::string_view text, size_t max_bytes) {
  return Shown({text.data(), text.size()}, max_bytes);
}

std::string RenderLogLine(const v1::LogLine& line) {
  std::string text =
      absl::StrCat(absl::FormatTime("%E4Y-%m-%dT%H:%M:%E3SZ", absl::FromUnixMillis(line.time_unix_ms()),
                                    absl::UTCTimeZone()),
                   " ", LevelName(line.level()), " ", line.text());
  if (line.run_id() != 0) absl::StrAppend(&text, " run=", line.run_id());
  if (line.stage() != v1::STAGE_UNSPECIFIED) absl::StrAppend(&text, " stage=", StageName(line.stage()));
  if (line.token() != 0) absl::StrAppend(&text, " token=", line.token(), " step=", line.step());
  if (!line.worker_name().empty()) absl::StrAppend(&text, " worker=", line.worker_name());
  return text;
}

LogSink StreamSink(std::ostream& out) {
  return [&out](const v1::LogLine& line) { out << RenderLogLine(line) + "\n" << std::flush; };
}

void LogBuffer::Add(const v1::LogLine& line) {
  MutexLock lock(mutex_);
  lines_.push_back(line);
  if (lines_.size() > capacity_) {
    lines_.pop_front();
    ++first_line_;
  }
}

LogBuffer::Batch LogBuffer::Oldest() const {
  MutexLock lock(mutex_);
  Batch batch = {first_line_, {}};
  size_t bytes = 0;
  for (const v1::LogLine& line : lines_) {
    bytes += line.ByteSizeLong();
    if (batch.lines.size() == kMaxBatchLines || bytes > kMaxBatchBytes) break;
    batch.lines.push_back(line);
  }
  return batch;
}

void LogBuffer::Forget(uint64_t end) {
  MutexLock lock(mutex_);
  while (!lines_.empty() && first_line_ < end) {
    lines_.pop_front();
    ++first_line_;
  }
}

}  // namespace retort
