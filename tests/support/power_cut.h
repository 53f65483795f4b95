// A disk in memory for RocksDB whose power can be cut: at the N-th operation that changes it, and then all
// that was not synced is lost: the ends of files since their last sync, and new, linked and renamed names
// since the last sync of their directory. (Removals are not undone.)
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/mutex.h"
#include "rocksdb/env.h"
#include "rocksdb/file_system.h"

namespace retort {

// Thread-safe. Whatever was opened on env() must be closed before RestorePower and destruction.
class PowerCutDisk {
 public:
  PowerCutDisk();
  ~PowerCutDisk();

  rocksdb::Env* env() { return env_.get(); }

  // The power fails at the `operations`-th change from now on: that one and all later ones fail.
  void CutAfter(int64_t operations);
  bool is_cut();

  // What was not synced is lost; the disk works again.
  void RestorePower();

 private:
  class File;
  class Directory;
  class Disk;

  // One change more. An error when the power is off.
  rocksdb::IOStatus Change();
  void FileGrew(const std::string& path, uint64_t size);
  void FileSynced(const std::string& path);
  void NameChanged(const std::string& path, std::function<void()> undo);
  void DirectorySynced(const std::string& directory);

  struct NameChange {
    std::string directory;
    std::function<void()> undo;
  };
  struct Sizes {
    uint64_t written = 0;
    uint64_t synced = 0;
  };

  std::unique_ptr<rocksdb::Env> memory_;
  std::shared_ptr<rocksdb::FileSystem> base_;
  std::unique_ptr<rocksdb::Env> env_;
  Mutex mutex_;
  int64_t operations_left_ ABSL_GUARDED_BY(mutex_) = -1;  // below 0: no cut planned
  bool is_cut_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, Sizes> sizes_ ABSL_GUARDED_BY(mutex_);
  std::vector<NameChange> unsynced_names_ ABSL_GUARDED_BY(mutex_);  // oldest first
};

}  // namespace retort
