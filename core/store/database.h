// The RocksDB database under a store, opened the one way that is right for it: which families with which
// options, who may open it, and what RocksDB's errors mean. Only core/store uses this header.
//
// A state directory holds .lock (who has it open), db (RocksDB's own) and incoming (files of publishes under
// way). Thread-safe but for opening and destruction.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/base/files.h"
#include "core/store/record_reader.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"

namespace retort {

// The Status of an answer of RocksDB's: damage is DATA_LOSS, a full disk RESOURCE_EXHAUSTED, what may pass
// UNAVAILABLE. `doing` is a phrase: "cannot commit to DIR".
absl::Status FromRocksDb(const rocksdb::Status& status, const std::string& doing);

// A family's options; `env` as of Database::Open.
rocksdb::ColumnFamilyOptions FamilyOptions(Family family);

// Under this name in a state directory a restore keeps what it has so far.
inline constexpr char kRestoring[] = "restoring";

class Database : public RecordReader {
 public:
  enum class Mode {
    kCreate,    // read and write; made if it does not exist
    kOpen,      // read and write; NOT_FOUND if there is none
    kReadOnly,  // changes nothing but .lock; NOT_FOUND if there is none
  };

  // FAILED_PRECONDITION when another process holds the directory (the message names it) or a newer program
  // made the families; DATA_LOSS when RocksDB cannot make sense of its files. `env`: nullptr for the real
  // disk; with another one there is no .lock, RocksDB's own lock still holds.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::filesystem::path& directory, Mode mode,
                                                        rocksdb::Env* env);
  ~Database() override;
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  const std::filesystem::path& directory() const { return directory_; }
  std::filesystem::path incoming() const { return directory_ / "incoming"; }
  rocksdb::Env& env() const { return *env_; }
  rocksdb::DB& rocksdb() const { return *db_; }
  rocksdb::ColumnFamilyHandle* family(Family family) const { return handles_.at(family); }

  absl::StatusOr<std::string> ReadBytes(Family family, const std::string& key,
                                        const std::string& name) const override;
  absl::Status ScanBytes(Family family, const std::string& first, const std::string& end,
                         VisitBytes visit) const override;

  // All of `batch` or nothing, on the disk when it returns.
  absl::Status WriteSynced(rocksdb::WriteBatch& batch);

 private:
  Database(std::filesystem::path directory, rocksdb::Env* env)
      : directory_(std::move(directory)), env_(env) {}
  absl::Status Prepare(Mode mode);
  absl::Status OpenFamilies(Mode mode);

  std::filesystem::path directory_;
  rocksdb::Env* env_;
  std::optional<DirectoryLock> lock_;
  std::unique_ptr<rocksdb::DB> db_;
  std::map<Family, rocksdb::ColumnFamilyHandle*> handles_;
  rocksdb::ColumnFamilyHandle* default_handle_ = nullptr;
};

}  // namespace retort
