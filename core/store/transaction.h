// What one Store::Transact reads and writes. Reads see the transaction's own writes. Nothing is written
// before the commit, and nothing at all when the body returns an error. Lives for one call of the body, in
// that call's thread.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/store/record_reader.h"
#include "retort/v1/records.pb.h"

namespace rocksdb {
class WriteBatchWithIndex;
}

namespace retort {

class Database;

class Transaction : public RecordReader {
 public:
  ~Transaction() override;
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  // Puts a record under the key that its ids say; sets its version. Not while a Scan of the same family is
  // going on. A record with a text that is not UTF-8, which could not be read back, fails the commit:
  // INVALID_ARGUMENT, nothing written.
  template <class Record>
  void Put(Record record) {
    record.set_version(kRecordVersion);
    const auto key = KeyOf(record);
    PutRecord(key.kFamily, WriteKey(key), ToString(key), record);
  }
  // The same for a record that does not hold its key.
  void Put(const RequestKey& key, v1::RequestRecord record);
  // The same for one that does not exist yet and is never put again; the chunks that it refers to exist:
  // one of CheckpointWriter::manifests().
  void Put(v1::ManifestRecord manifest);

  // Deletes a record if it exists. For manifests there is DeleteManifest.
  template <class Key>
  void Delete(const Key& key) {
    static_assert(!std::is_same_v<Key, ManifestKey>);
    DeleteBytes(Key::kFamily, WriteKey(key));
  }
  // Deletes a manifest that exists. Once that is committed, what it alone referred to is dropped.
  void DeleteManifest(const v1::ManifestRecord& manifest);

  // Numbers that no committed transaction has taken before, each greater than the last.
  uint64_t TakeRunId();
  uint64_t TakeToken();
  uint64_t TakePublish();

  // Puts `event` under the next sequence number, which it returns; sets `sequence`.
  uint64_t AddEvent(v1::EventRecord event);

  // The fence: the task's row, when it is LEASED under `token`. ABORTED otherwise, also when there is no such
  // row; the message names the row, both tokens and its state.
  absl::StatusOr<v1::TaskRecord> GetHeldTask(const TaskKey& key, uint64_t token) const;

 private:
  friend class Store;

  Transaction(Database& database, v1::MetaRecord meta);
  bool empty() const;
  absl::Status Commit();

  void PutRecord(Family family, const std::string& key, const std::string& name,
                 const google::protobuf::MessageLite& record);
  void DeleteBytes(Family family, const std::string& key);
  absl::StatusOr<std::string> ReadBytes(Family family, const std::string& key,
                                        const std::string& name) const override;
  absl::Status ScanBytes(Family family, const std::string& first, const std::string& end,
                         VisitBytes visit) const override;

  Database& database_;
  std::unique_ptr<rocksdb::WriteBatchWithIndex> batch_;
  v1::MetaRecord meta_;
  bool meta_changed_ = false;
  absl::Status refusal_;  // of a record put
  std::vector<v1::ManifestRecord> put_manifests_, deleted_manifests_;
};

}  // namespace retort
