#include "core/base/log.h"

#include <algorithm>
#include <ostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "core/base/check.h"
#include "core/base/work_names.h"

namespace retort {
namespace {

// Limits of a ShipLogs (docs/protocol.md).
constexpr size_t kMaxBatchLines = 1000;
constexpr size_t kMaxBatchBytes = size_t{1} << 20;

// Bytes of the UTF-8 character at the start of `text`; 0 when there is none.
size_t CharacterBytes(absl::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return 1;
  const size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xc0) != 0x80) return 0;
  }
  const auto second = static_cast<uint8_t>(text[1]);
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool surrogate = lead == 0xed && second >= 0xa0;
  const bool too_large = lead == 0xf4 && second >= 0x90;
  return overlong || surrogate || too_large ? 0 : size;
}

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
  RETORT_CHECK(max_bytes > 3) << max_bytes;
  std::string clean;
  size_t cut = 0;  // where a character ends that "..." still fits behind
  while (!text.empty()) {
    const size_t size = CharacterBytes(text);
    const absl::string_view character = size == 0                            ? "?"
                                        : text[0] == '\n' || text[0] == '\r' ? " "
                                                                             : text.substr(0, size);
    if (clean.size() + character.size() > max_bytes) return clean.substr(0, cut) + "...";
    absl::StrAppend(&clean, character);
    if (clean.size() + 3 <= max_bytes) cut = clean.size();
    text.remove_prefix(std::max<size_t>(size, 1));
  }
  return clean;
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
