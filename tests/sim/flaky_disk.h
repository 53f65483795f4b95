// A disk over another one that sometimes refuses: a write fails, or there is no room left. Files of publishes
// under way (incoming/) and RocksDB's log fail separately: the first costs a publish, the second ends the
// orchestrator. Not thread-safe but for what RocksDB's threads do with env().
#pragma once

#include <atomic>
#include <memory>

#include "rocksdb/env.h"
#include "rocksdb/file_system.h"

namespace retort::sim {

class FlakyDisk {
 public:
  explicit FlakyDisk(rocksdb::Env* base);

  rocksdb::Env* env() { return env_.get(); }

  // The next write to the log, or to a publish's file, fails.
  void FailOnce(bool of_log) { (of_log ? fails_log_ : fails_publish_) = true; }
  // No space is free for a publish.
  void SetFull(bool is_full) { is_full_ = is_full; }
  void Mend();

  // Whether a write of the log has failed since the last call.
  bool TakeHasFailed() { return has_failed_log_.exchange(false); }

 private:
  class File;
  class Disk;

  std::atomic<bool> fails_log_ = false, fails_publish_ = false, is_full_ = false, has_failed_log_ = false;
  std::unique_ptr<rocksdb::Env> env_;
};

}  // namespace retort::sim
