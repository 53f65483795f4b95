#include "core/store/backup.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "core/store/database.h"
#include "rocksdb/utilities/checkpoint.h"

namespace retort {
namespace {

namespace fs = std::filesystem;

absl::Status FromErrorCode(const std::error_code& error, const std::string& doing) {
  return error ? absl::ErrnoToStatus(error.value(), doing) : absl::OkStatus();
}

// Makes `directory`, unless it is there and empty.
absl::Status MakeEmptyDirectory(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  RETURN_IF_ERROR(FromErrorCode(error, absl::StrCat("cannot create ", directory.string())));
  const bool is_empty = fs::is_empty(directory, error);
  RETURN_IF_ERROR(FromErrorCode(error, absl::StrCat("cannot read ", directory.string())));
  if (is_empty) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(directory.string(), " is not empty; give a directory that is, or does not exist"));
}

absl::Status Sync(const fs::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = fd >= 0 && fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) close(fd);
  return synced ? absl::OkStatus() : absl::ErrnoToStatus(error, absl::StrCat("cannot sync ", path.string()));
}

// All files of `from`, none as a link, each synced.
absl::Status CopyFiles(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to, error);
  RETURN_IF_ERROR(FromErrorCode(error, absl::StrCat("cannot create ", to.string())));
  for (const fs::directory_entry& entry : fs::directory_iterator(from, error)) {
    const fs::path target = to / entry.path().filename();
    fs::copy_file(entry.path(), target, error);
    RETURN_IF_ERROR(
        FromErrorCode(error, absl::StrCat("cannot copy ", entry.path().string(), " to ", target.string())));
    RETURN_IF_ERROR(Sync(target));
  }
  RETURN_IF_ERROR(FromErrorCode(error, absl::StrCat("cannot read ", from.string())));
  return Sync(to);
}

// In one synced write of the copy.
absl::Status SkipNumbers(const fs::path& directory) {
  constexpr uint64_t kStride = 1'000'000;
  constexpr uint64_t kRunStride = 1'000;  // people type these
  ASSIGN_OR_RETURN(const std::unique_ptr<Database> database,
                   Database::Open(directory, Database::Mode::kOpen, /*env=*/nullptr));
  ASSIGN_OR_RETURN(v1::MetaRecord meta, ReadMeta(*database));
  meta.set_epoch(meta.epoch() + kStride);
  meta.set_next_token(meta.next_token() + kStride);
  meta.set_next_publish(meta.next_publish() + kStride);
  meta.set_next_run_id(meta.next_run_id() + kRunStride);
  rocksdb::WriteBatch batch;
  RETURN_IF_ERROR(
      FromRocksDb(batch.Put(database->family(Family::kMeta), WriteKey(MetaKey{}), meta.SerializeAsString()),
                  "cannot write meta/store"));
  return database->WriteSynced(batch);
}

}  // namespace

absl::Status BackUpStore(Store& store, const fs::path& target) {
  RETURN_IF_ERROR(MakeEmptyDirectory(target));
  const std::string doing =
      absl::StrCat("cannot back up ", store.directory().string(), " to ", target.string());
  rocksdb::Checkpoint* created = nullptr;
  RETURN_IF_ERROR(FromRocksDb(rocksdb::Checkpoint::Create(&store.database().rocksdb(), &created), doing));
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(created);
  // Flushes first, so that the copy needs no log; appears as a whole.
  return FromRocksDb(checkpoint->CreateCheckpoint((target / "db").string()), doing);
}

absl::Status RestoreStore(const fs::path& backup, const fs::path& directory) {
  std::error_code error;
  if (!fs::exists(backup / "db" / "CURRENT", error)) {
    return absl::NotFoundError(absl::StrCat("there is no backup in ", backup.string(),
                                            "; give the directory that retort-orchestrator backup wrote"));
  }
  RETURN_IF_ERROR(MakeEmptyDirectory(directory));
  // Under another name until all of it is there and has its new numbers, so that nobody starts on a part.
  const fs::path partial = directory / kRestoring;
  RETURN_IF_ERROR(CopyFiles(backup / "db", partial / "db"));
  RETURN_IF_ERROR(SkipNumbers(partial));
  fs::rename(partial / "db", directory / "db", error);
  RETURN_IF_ERROR(FromErrorCode(error, absl::StrCat("cannot complete the store in ", directory.string())));
  RETURN_IF_ERROR(Sync(directory));
  fs::remove_all(partial, error);
  return FromErrorCode(error, absl::StrCat("cannot remove ", partial.string()));
}

}  // namespace retort
