// A process's log: lines that say of which run, lease and step they speak, given to sinks as they come. A
// worker's sinks are the error stream and the buffer that ShipLogs empties, the orchestrator's the error
// stream and its own kept lines.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/base/mutex.h"
#include "retort/v1/work.pb.h"

namespace retort {

// What a line is about; zero where it is about none.
struct LogContext {
  uint64_t run_id = 0;
  v1::Stage stage = v1::STAGE_UNSPECIFIED;
  uint64_t token = 0;
  uint64_t step = 0;
};

// Takes a complete line. Called for one line at a time; must not write to the log.
using LogSink = std::function<void(const v1::LogLine& line)>;

inline constexpr size_t kMaxLogTextBytes = 4096;

// Thread-safe.
class Log {
 public:
  // Lines below `min_level` are dropped. `now_unix_ms` is the wall clock.
  Log(v1::LogLevel min_level, std::function<int64_t()> now_unix_ms, std::vector<LogSink> sinks)
      : min_level_(min_level), now_unix_ms_(std::move(now_unix_ms)), sinks_(std::move(sinks)) {}
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // The text is brought into a line's form (work.proto): newlines become spaces, what is not UTF-8 becomes
  // '?', a long text is cut and ends in "...".
  void Write(v1::LogLevel level, absl::string_view text, const LogContext& context = {});

  void Debug(absl::string_view text, const LogContext& context = {}) {
    Write(v1::LOG_LEVEL_DEBUG, text, context);
  }
  void Info(absl::string_view text, const LogContext& context = {}) {
    Write(v1::LOG_LEVEL_INFO, text, context);
  }
  void Warning(absl::string_view text, const LogContext& context = {}) {
    Write(v1::LOG_LEVEL_WARNING, text, context);
  }
  void Error(absl::string_view text, const LogContext& context = {}) {
    Write(v1::LOG_LEVEL_ERROR, text, context);
  }

 private:
  const v1::LogLevel min_level_;
  const std::function<int64_t()> now_unix_ms_;
  Mutex mutex_;  // one line after another
  const std::vector<LogSink> sinks_;
};

// A text in a line's form. `max_bytes` > 3.
std::string LogText(absl::string_view text, size_t max_bytes = kMaxLogTextBytes);

// "2026-03-04T05:06:07.890Z INFO text run=3 stage=end_to_end token=41 step=250 worker=w1", without what the
// line does not say.
std::string RenderLogLine(const v1::LogLine& line);

// A sink: each line, rendered, on `out`, which outlives it.
LogSink StreamSink(std::ostream& out);

// What a worker has not shipped yet: the newest `capacity` lines, numbered from 0 as they came, dropped ones
// too. Thread-safe.
class LogBuffer {
 public:
  explicit LogBuffer(size_t capacity = 10'000) : capacity_(capacity) {}

  void Add(const v1::LogLine& line);
  LogSink Sink() {
    return [this](const v1::LogLine& line) { Add(line); };
  }

  struct Batch {
    uint64_t first_line = 0;  // number of lines[0]; a gap since the last batch: so many were dropped
    std::vector<v1::LogLine> lines;
  };
  // The oldest lines, at most what one ShipLogs takes; they stay until Forget. Without lines: there are none.
  Batch Oldest() const;

  // The lines numbered below `end` have arrived.
  void Forget(uint64_t end);

 private:
  const size_t capacity_;
  mutable Mutex mutex_;
  uint64_t first_line_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<v1::LogLine> lines_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace retort
