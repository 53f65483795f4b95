#include "core/store/store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/crash_point.h"

namespace retort {

absl::StatusOr<v1::MetaRecord> ReadMeta(const Database& database) {
  absl::StatusOr<v1::MetaRecord> meta = database.Get(MetaKey{});
  if (absl::IsNotFound(meta.status())) {
    v1::MetaRecord first;
    first.set_version(kRecordVersion);
    first.set_format_version(kStoreFormatVersion);
    first.set_next_run_id(1);
    first.set_next_token(1);
    first.set_next_event_sequence(1);
    first.set_next_publish(1);
    return first;
  }
  if (meta.ok() && meta->format_version() > kStoreFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat("the store in ", database.directory().string(),
                                                      " has format ", meta->format_version(),
                                                      "; this program knows up to ", kStoreFormatVersion,
                                                      "; use the program that made it, or a newer one"));
  }
  return meta;
}

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const std::filesystem::path& directory,
                                                   rocksdb::Env* env) {
  return StartOn(Database::Open(directory, Database::Mode::kCreate, env));
}

absl::StatusOr<std::unique_ptr<Store>> Store::OpenExisting(const std::filesystem::path& directory) {
  return StartOn(Database::Open(directory, Database::Mode::kOpen, /*env=*/nullptr));
}

absl::StatusOr<std::unique_ptr<Store>> Store::StartOn(absl::StatusOr<std::unique_ptr<Database>> database) {
  RETURN_IF_ERROR(database.status());
  auto store = std::unique_ptr<Store>(new Store(*std::move(database)));
  RETURN_IF_ERROR(store->Start());
  return store;
}

absl::Status Store::Start() {
  ASSIGN_OR_RETURN(v1::MetaRecord meta, ReadMeta(*database_));
  RETURN_IF_ERROR(chunks_.Recover());
  epoch_ = meta.epoch() + 1;
  meta.set_epoch(epoch_);
  MutexLock lock(mutex_);
  meta_ = meta;
  Transaction transaction(*database_, meta);
  transaction.meta_changed_ = true;
  return transaction.Commit();
}

absl::Status Store::Transact(absl::FunctionRef<absl::Status(Transaction& transaction)> body) {
  {
    MutexLock lock(mutex_);
    RETURN_IF_ERROR(failure_);
    Transaction transaction(*database_, meta_);
    RETURN_IF_ERROR(body(transaction));
    RETURN_IF_ERROR(transaction.refusal_);
    if (transaction.empty()) return absl::OkStatus();
    CrashPoint("store.before_commit");
    if (absl::Status status = transaction.Commit(); !status.ok()) {
      failure_ =
          absl::Status(status.code(), absl::StrCat(status.message(), "; the store in ", directory().string(),
                                                   " takes no more writes until the next start"));
      return failure_;
    }
    CrashPoint("store.after_commit");
    meta_ = std::move(transaction.meta_);
    chunks_.CountCommitted(transaction.put_manifests_, transaction.deleted_manifests_);
  }
  chunks_.DropUnused();
  return absl::OkStatus();
}

}  // namespace retort
