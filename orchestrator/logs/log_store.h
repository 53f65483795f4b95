// The newest log lines of the workers and of the orchestrator itself, in the order in which they arrived, in
// files of a directory, so that a restart keeps them. Bounded in lines and bytes: the oldest file goes when
// the others hold enough. Nothing is synced: a power cut may take the last seconds. Damage ends its file;
// the lines before it stay.
//
// A file is named for the first sequence number in it and holds records: length 4 and CRC-32C 4 (both
// little-endian, the checksum over what follows), then a LogRecord.
//
// Thread-safe. One process uses a directory at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/log.h"
#include "core/base/mutex.h"
#include "retort/v1/records.pb.h"
#include "retort/v1/worker_service.pb.h"

namespace retort::orchestrator {

struct LogBounds {
  uint64_t lines = 200'000;
  uint64_t bytes = uint64_t{256} << 20;
  uint64_t file_bytes = uint64_t{4} << 20;
};

class LogStore {
 public:
  // Makes the directory if need be and reads what is there.
  static absl::StatusOr<std::unique_ptr<LogStore>> Open(const std::filesystem::path& directory,
                                                        const LogBounds& bounds = {});
  ~LogStore();
  LogStore(const LogStore&) = delete;
  LogStore& operator=(const LogStore&) = delete;

  // Lines of a worker that have arrived before are passed over. After an error none of them was kept.
  absl::Status Append(const std::string& worker_name, const v1::ShipLogsRequest& request);

  // A line of the orchestrator's own; lost when the disk refuses it.
  void AppendOwn(const v1::LogLine& line);
  LogSink Sink() {
    return [this](const v1::LogLine& line) { AppendOwn(line); };
  }

  // Takes the lines of a run out of their records, which stay for the numbers in them. After an error some
  // lines may be left: repeat it.
  absl::Status ForgetRun(uint64_t run_id);

  // The runs of which lines were there at Open.
  std::set<uint64_t> loaded_runs() const {
    MutexLock lock(mutex_);
    return loaded_runs_;
  }

  // Where a reader stands.
  struct Place {
    uint64_t sequence = 0;  // the next record to read; 0: the oldest kept
    // Of that record, as Read left it. Without them Read begins with the file that holds it.
    uint64_t file = 0;
    uint64_t rewrites = 0;
    uint64_t offset_bytes = 0;
  };
  struct Batch {
    std::vector<v1::LogRecord> records;
    uint64_t overtaken_lines = 0;  // that were gone before they could be read
  };
  // The next records, some 64 KiB of them; none: there are no more now. Moves `place` behind them.
  absl::StatusOr<Batch> Read(Place& place) const;

  // Of the newest record that was ever kept here; 0: none was.
  uint64_t last_sequence() const {
    MutexLock lock(mutex_);
    return next_sequence_ - 1;
  }

 private:
  struct File {
    uint64_t first_sequence = 0;
    uint64_t end_sequence = 0;
    uint64_t bytes = 0;     // that are whole
    uint64_t rewrites = 0;  // by ForgetRun, since the start
  };

  LogStore(std::filesystem::path directory, const LogBounds& bounds)
      : directory_(std::move(directory)), bounds_(bounds) {}
  std::filesystem::path PathOf(uint64_t first_sequence) const;
  absl::Status Load() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status LoadFile(uint64_t first_sequence) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Write(std::vector<v1::LogRecord> records) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RewriteWithout(uint64_t run_id, File& file) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status StartFile() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseFile() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::filesystem::path directory_;
  const LogBounds bounds_;
  mutable Mutex mutex_;
  std::deque<File> files_ ABSL_GUARDED_BY(mutex_);  // oldest first; the last one is written to if fd_ is open
  int fd_ ABSL_GUARDED_BY(mutex_) = -1;
  uint64_t next_sequence_ ABSL_GUARDED_BY(mutex_) = 1;
  std::unordered_map<uint64_t, uint64_t> next_line_ ABSL_GUARDED_BY(mutex_);  // by worker_id
  std::set<uint64_t> loaded_runs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace retort::orchestrator
