#include "orchestrator/service/log_writer.h"

#include "absl/strings/str_cat.h"

namespace retort::orchestrator {

LogWriter::~LogWriter() {
  {
    MutexLock lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void LogWriter::Add(const v1::LogLine& line) {
  lines_.Add(line);
  {
    MutexLock lock(mutex_);
    has_lines_ = true;
  }
  changed_.notify_one();
}

void LogWriter::Work() {
  const LogSink write = StreamSink(out_);
  uint64_t next_line = 0;
  bool is_stopping = false;
  while (!is_stopping) {
    {
      MutexLock lock(mutex_);
      changed_.wait(mutex_, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return has_lines_ || is_stopping_; });
      has_lines_ = false;
      is_stopping = is_stopping_;
    }
    for (LogBuffer::Batch batch = lines_.Oldest(); !batch.lines.empty(); batch = lines_.Oldest()) {
      if (batch.first_line > next_line) {
        out_ << absl::StrCat(batch.first_line - next_line, " log lines were dropped here\n");
      }
      for (const v1::LogLine& line : batch.lines) write(line);
      next_line = batch.first_line + batch.lines.size();
      lines_.Forget(next_line);
    }
  }
}

}  // namespace retort::orchestrator
