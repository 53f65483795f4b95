// The chunks of checkpoints: one range of keys for each publish, in one file of its own that is written
// outside RocksDB's log, ingested whole and dropped whole. Keeps count of who refers to a range: the
// manifests that are kept, and publishes under way that will refer to it (pins). A range that loses its last
// user is dropped. Only core/store uses this header.
//
// Thread-safe. The counts follow committed transactions: Store reports those, under its own mutex.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/base/mutex.h"
#include "core/store/database.h"
#include "retort/v1/records.pb.h"
#include "rocksdb/iterator.h"
#include "rocksdb/sst_file_writer.h"

namespace retort {

// The ranges that a manifest refers to.
std::set<uint64_t> PublishesOf(const v1::ManifestRecord& manifest);

class ChunkStore {
 public:
  explicit ChunkStore(Database& database) : database_(database) {}

  // Once, before all else: removes files of publishes that a crash cut off, counts what the manifests refer
  // to, and drops the other ranges.
  absl::Status Recover();

  // A file for the chunks of `publish`, to be filled in the keys' order. Nothing in it counts yet.
  absl::StatusOr<std::unique_ptr<rocksdb::SstFileWriter>> CreateFile(uint64_t publish) const;
  // Ends the file, syncs it and makes its chunks readable, all of them. `publish` is pinned.
  absl::Status Ingest(uint64_t publish, rocksdb::SstFileWriter& file);
  // Removes the file if it was not ingested.
  void DiscardFile(uint64_t publish) const;

  void Pin(const std::set<uint64_t>& publishes);
  // Drops what nobody uses any more.
  void Unpin(const std::set<uint64_t>& publishes);

  // A transaction that put and deleted these manifests was committed.
  void CountCommitted(const std::vector<v1::ManifestRecord>& put,
                      const std::vector<v1::ManifestRecord>& deleted);
  // Drops the ranges that CountCommitted found to be without a user. What cannot be dropped now, because the
  // disk fails, is dropped by the next Recover.
  void DropUnused();

  // Over all ranges that exist now; later drops do not disturb it, but keep its space until it ends.
  std::unique_ptr<rocksdb::Iterator> NewIterator() const;

  // The publishes that have a range, in order.
  absl::StatusOr<std::vector<uint64_t>> Ranges() const;

  // Bytes that the file system still has for us; nothing when it cannot say.
  std::optional<uint64_t> FreeBytes() const;

 private:
  struct Users {
    int64_t manifests = 0;
    int64_t pins = 0;
  };

  std::string FileOf(uint64_t publish) const;
  absl::Status RemoveIncomingFiles() const;
  absl::Status CountKeptManifests();
  void RemoveUser(uint64_t publish, int64_t Users::*kind) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status DropRange(uint64_t publish);

  Database& database_;
  mutable Mutex mutex_;
  std::map<uint64_t, Users> users_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint64_t> unused_ ABSL_GUARDED_BY(mutex_);  // to be dropped
};

}  // namespace retort
