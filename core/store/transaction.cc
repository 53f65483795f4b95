#include "core/store/transaction.h"

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/store/database.h"
#include "rocksdb/utilities/write_batch_with_index.h"

namespace retort {

Transaction::Transaction(Database& database, v1::MetaRecord meta)
    : database_(database),
      batch_(std::make_unique<rocksdb::WriteBatchWithIndex>(rocksdb::BytewiseComparator(),
                                                            /*reserved_bytes=*/0, /*overwrite_key=*/true)),
      meta_(std::move(meta)) {}

Transaction::~Transaction() = default;

void Transaction::Put(const RequestKey& key, v1::RequestRecord record) {
  record.set_version(kRecordVersion);
  PutRecord(Family::kRequests, WriteKey(key), ToString(key), record);
}

void Transaction::Put(v1::ManifestRecord manifest) {
  const ManifestKey key = KeyOf(manifest);
  RETORT_CHECK(absl::IsNotFound(Get(key).status())) << ToString(key) << " is put twice";
  manifest.set_version(kRecordVersion);
  PutRecord(Family::kManifests, WriteKey(key), ToString(key), manifest);
  put_manifests_.push_back(std::move(manifest));
}

void Transaction::DeleteManifest(const v1::ManifestRecord& manifest) {
  DeleteBytes(Family::kManifests, WriteKey(KeyOf(manifest)));
  deleted_manifests_.push_back(manifest);
}

uint64_t Transaction::TakeRunId() {
  meta_changed_ = true;
  const uint64_t taken = meta_.next_run_id();
  meta_.set_next_run_id(taken + 1);
  return taken;
}

uint64_t Transaction::TakeToken() {
  meta_changed_ = true;
  const uint64_t taken = meta_.next_token();
  meta_.set_next_token(taken + 1);
  return taken;
}

uint64_t Transaction::TakePublish() {
  meta_changed_ = true;
  const uint64_t taken = meta_.next_publish();
  meta_.set_next_publish(taken + 1);
  return taken;
}

uint64_t Transaction::AddEvent(v1::EventRecord event) {
  meta_changed_ = true;
  const uint64_t taken = meta_.next_event_sequence();
  meta_.set_next_event_sequence(taken + 1);
  event.set_sequence(taken);
  Put(std::move(event));
  return taken;
}

absl::StatusOr<v1::TaskRecord> Transaction::GetHeldTask(const TaskKey& key, uint64_t token) const {
  absl::StatusOr<v1::TaskRecord> found = Get(key);
  if (absl::IsNotFound(found.status())) return absl::AbortedError(found.status().message());
  ASSIGN_OR_RETURN(v1::TaskRecord task, std::move(found));
  if (task.state() == v1::TASK_STATE_LEASED && task.token() == token) return task;
  return absl::AbortedError(absl::StrCat("token ", token, " does not hold ", ToString(key), ": it is ",
                                         v1::TaskState_Name(task.state()), " under token ", task.token(),
                                         "; send a heartbeat and obey its verdict"));
}

bool Transaction::empty() const { return !meta_changed_ && batch_->GetWriteBatch()->Count() == 0; }

absl::Status Transaction::Commit() {
  if (meta_changed_) PutRecord(Family::kMeta, WriteKey(MetaKey{}), ToString(MetaKey{}), meta_);
  return database_.WriteSynced(*batch_->GetWriteBatch());
}

void Transaction::PutRecord(Family family, const std::string& key, const std::string& name,
                            const google::protobuf::MessageLite& record) {
  const std::string bytes = record.SerializeAsString();
  // protobuf writes a text that is not UTF-8, and then refuses to read it.
  if (!std::unique_ptr<google::protobuf::MessageLite>(record.New())->ParseFromString(bytes)) {
    refusal_ = absl::InvalidArgumentError(absl::StrCat(
        "record ", name, " has a text that is not UTF-8; cut and clean texts before they are stored"));
  }
  RETORT_CHECK(batch_->Put(database_.family(family), key, bytes).ok());
}

void Transaction::DeleteBytes(Family family, const std::string& key) {
  RETORT_CHECK(batch_->Delete(database_.family(family), key).ok());
}

absl::StatusOr<std::string> Transaction::ReadBytes(Family family, const std::string& key,
                                                   const std::string& name) const {
  std::string bytes;
  const rocksdb::Status status = batch_->GetFromBatchAndDB(&database_.rocksdb(), rocksdb::ReadOptions(),
                                                           database_.family(family), key, &bytes);
  if (status.IsNotFound()) return absl::NotFoundError(absl::StrCat("there is no record ", name));
  RETURN_IF_ERROR(FromRocksDb(status, absl::StrCat("cannot read record ", name)));
  return bytes;
}

absl::Status Transaction::ScanBytes(Family family, const std::string& first, const std::string& end,
                                    VisitBytes visit) const {
  rocksdb::ColumnFamilyHandle* handle = database_.family(family);
  const std::unique_ptr<rocksdb::Iterator> iterator(
      batch_->NewIteratorWithBase(handle, database_.rocksdb().NewIterator(rocksdb::ReadOptions(), handle)));
  for (iterator->Seek(first); iterator->Valid(); iterator->Next()) {
    if (!end.empty() && iterator->key().compare(end) >= 0) break;
    RETURN_IF_ERROR(visit(iterator->key().ToStringView(), iterator->value().ToStringView()));
  }
  return FromRocksDb(iterator->status(), absl::StrCat("cannot read family ", FamilyName(family)));
}

}  // namespace retort
