// Log lines on a stream that may block, as stderr does while nobody reads its pipe: a thread writes them, and
// who logs, perhaps under a lock, does not wait for it. Of lines that find no room the newest 10,000 stay.
#pragma once

#include <condition_variable>
#include <ostream>
#include <thread>

#include "core/base/log.h"
#include "core/base/mutex.h"

namespace retort::orchestrator {

// Thread-safe but for construction and destruction.
class LogWriter {
 public:
  // `out` outlives it.
  explicit LogWriter(std::ostream& out) : out_(out), thread_([this] { Work(); }) {}
  // Writes what is left first.
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  LogSink Sink() {
    return [this](const v1::LogLine& line) { Add(line); };
  }

 private:
  void Add(const v1::LogLine& line);
  void Work();

  std::ostream& out_;
  LogBuffer lines_;
  Mutex mutex_;
  std::condition_variable_any changed_;
  bool has_lines_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace retort::orchestrator
