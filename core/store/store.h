// The orchestrator's store: every record of docs/store.md, in one RocksDB database that one process owns.
//
// What changes together is one Transact: the body reads rows, checks the fence, decides and writes, and no
// other transaction runs between its first read and its commit. So a check made in a body still holds when
// the body's writes are on the disk. A commit is one synced write, all of it or nothing.
//
// Thread-safe but for Open and destruction. Reads outside of Transact see what was committed last, each call
// for itself. Record failures are those of record_reader.h.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "core/base/mutex.h"
#include "core/store/chunk_store.h"
#include "core/store/database.h"
#include "core/store/transaction.h"

namespace retort {

// Of the whole store: families and keys. MetaRecord.format_version.
inline constexpr uint32_t kStoreFormatVersion = 1;

class Store : public RecordReader {
 public:
  // Opens the store in `directory`, makes it if there is none, takes the next epoch (synced) and drops what
  // publishes that were never committed left behind. `env`, for tests: another file system than the disk,
  // which must outlive the store.
  //   FAILED_PRECONDITION  another process has it open (named in the message), or a newer program made it
  //   DATA_LOSS            it is damaged, a synced record of the log included; restore a backup
  //   others               as the directory answers
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::filesystem::path& directory,
                                                     rocksdb::Env* env = nullptr);
  // The same on the disk, but NOT_FOUND where there is none.
  static absl::StatusOr<std::unique_ptr<Store>> OpenExisting(const std::filesystem::path& directory);

  const std::filesystem::path& directory() const { return database_->directory(); }

  // Counts the opens of this store, from 1.
  uint64_t epoch() const { return epoch_; }

  // Runs `body` alone and commits what it wrote; returns when that is on the disk. When `body` returns an
  // error nothing was written, no number was taken, and that error is returned. `body` may not call Transact.
  //
  // When the commit itself fails, nobody knows whether it will be there at the next start: this and every
  // later call returns the error, and the process should end and start again.
  absl::Status Transact(absl::FunctionRef<absl::Status(Transaction& transaction)> body);

  // Of core/store itself.
  Database& database() { return *database_; }
  ChunkStore& chunks() { return chunks_; }

 private:
  explicit Store(std::unique_ptr<Database> database) : database_(std::move(database)), chunks_(*database_) {}
  static absl::StatusOr<std::unique_ptr<Store>> StartOn(absl::StatusOr<std::unique_ptr<Database>> database);
  absl::Status Start();

  absl::StatusOr<std::string> ReadBytes(Family family, const std::string& key,
                                        const std::string& name) const override {
    return database_->ReadBytes(family, key, name);
  }
  absl::Status ScanBytes(Family family, const std::string& first, const std::string& end,
                         VisitBytes visit) const override {
    return database_->ScanBytes(family, first, end, visit);
  }

  std::unique_ptr<Database> database_;
  ChunkStore chunks_;
  uint64_t epoch_ = 0;
  Mutex mutex_;  // one transaction at a time
  v1::MetaRecord meta_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);  // of a commit
};

// What a database says that it is. A new one's record with all numbers at 1 when it has none;
// FAILED_PRECONDITION when its format is newer than this program's.
absl::StatusOr<v1::MetaRecord> ReadMeta(const Database& database);

}  // namespace retort
