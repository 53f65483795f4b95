#include "core/store/database.h"

#include <algorithm>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rocksdb/cache.h"
#include "rocksdb/table.h"

namespace retort {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMiB = size_t{1} << 20;

rocksdb::DBOptions DatabaseOptions(rocksdb::Env* env) {
  rocksdb::DBOptions options;
  options.env = env;
  // A record that was synced is never rolled back: damage within the log refuses the store, where RocksDB's
  // default would drop what follows it, tokens that workers hold included. An incomplete last record, as a
  // crash leaves it, is passed over.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.max_open_files = 256;  // a file for each publish that is kept; the usual limit is 1024
  options.db_write_buffer_size = 16 * kMiB;
  options.max_total_wal_size = 64 * kMiB;
  options.max_manifest_file_size = 4 * kMiB;
  options.max_background_jobs = 2;
  options.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  options.keep_log_file_num = 4;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> Descriptors() {
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const Family family : kFamilies) descriptors.emplace_back(FamilyName(family), FamilyOptions(family));
  descriptors.emplace_back(rocksdb::kDefaultColumnFamilyName, rocksdb::ColumnFamilyOptions());
  return descriptors;
}

bool IsKnownFamily(const std::string& name) {
  return name == rocksdb::kDefaultColumnFamilyName ||
         std::any_of(std::begin(kFamilies), std::end(kFamilies),
                     [&name](Family family) { return name == FamilyName(family); });
}

}  // namespace

absl::Status FromRocksDb(const rocksdb::Status& status, const std::string& doing) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = absl::StrCat(doing, ": ", status.ToString());
  if (status.IsNoSpace() || status.IsMemoryLimit()) {
    return absl::ResourceExhaustedError(absl::StrCat(message, "; free some space and start again"));
  }
  if (status.IsCorruption()) {
    return absl::DataLossError(
        absl::StrCat(message, "; run retort-orchestrator verify, and restore a backup"));
  }
  if (status.IsPathNotFound() || status.IsNotFound()) return absl::NotFoundError(message);
  if (status.IsNotSupported() || status.IsInvalidArgument()) return absl::FailedPreconditionError(message);
  return absl::UnavailableError(message);
}

rocksdb::ColumnFamilyOptions FamilyOptions(Family family) {
  rocksdb::ColumnFamilyOptions options;
  // Digests and weights do not compress.
  options.compression = rocksdb::kNoCompression;
  options.write_buffer_size = 4 * kMiB;
  rocksdb::BlockBasedTableOptions table;
  if (family == Family::kChunks) {
    // Files come by ingestion alone, one for each publish, and go whole: there is nothing to compact, and a
    // compaction would write every checkpoint again.
    options.disable_auto_compactions = true;
    table.no_block_cache = true;  // each chunk is read once
  } else {
    static const auto& cache = *new std::shared_ptr<rocksdb::Cache>(rocksdb::NewLRUCache(8 * kMiB));
    table.block_cache = cache;
  }
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const fs::path& directory, Mode mode,
                                                         rocksdb::Env* env) {
  auto database =
      std::unique_ptr<Database>(new Database(directory, env == nullptr ? rocksdb::Env::Default() : env));
  if (env == nullptr) {
    std::error_code error;
    if (mode == Mode::kCreate) fs::create_directories(directory, error);
    if (mode != Mode::kCreate && !fs::exists(directory / "db" / "CURRENT", error)) {
      return absl::NotFoundError(
          absl::StrCat("there is no store in ", directory.string(),
                       "; give the directory that retort-orchestrator was started with"));
    }
    if (!fs::exists(directory / "db", error) && fs::exists(directory / kRestoring, error)) {
      return absl::FailedPreconditionError(absl::StrCat(
          "a restore into ", directory.string(), " did not come to its end; remove it and restore again"));
    }
    // Before RocksDB, which turns its log over and only then looks at its own lock.
    ASSIGN_OR_RETURN(database->lock_, DirectoryLock::Acquire(directory));
  }
  RETURN_IF_ERROR(database->Prepare(mode));
  RETURN_IF_ERROR(database->OpenFamilies(mode));
  return database;
}

absl::Status Database::Prepare(Mode mode) {
  if (mode == Mode::kReadOnly) return absl::OkStatus();
  for (const fs::path& path : {directory_, incoming()}) {
    RETURN_IF_ERROR(
        FromRocksDb(env_->CreateDirIfMissing(path.string()), absl::StrCat("cannot create ", path.string())));
  }
  return absl::OkStatus();
}

absl::Status Database::OpenFamilies(Mode mode) {
  const std::string path = directory_ / "db";
  rocksdb::DBOptions options = DatabaseOptions(env_);
  options.create_if_missing = options.create_missing_column_families = mode == Mode::kCreate;
  const std::string doing = absl::StrCat("cannot open the store in ", directory_.string());
  if (env_->FileExists(path + "/CURRENT").ok()) {
    std::vector<std::string> names;
    RETURN_IF_ERROR(FromRocksDb(rocksdb::DB::ListColumnFamilies(options, path, &names), doing));
    for (const std::string& name : names) {
      if (IsKnownFamily(name)) continue;
      return absl::FailedPreconditionError(
          absl::StrCat(doing, ": it has a family ", name,
                       ", which this program does not know; use the program that made it, or a newer one"));
    }
  }
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status =
      mode == Mode::kReadOnly ? rocksdb::DB::OpenForReadOnly(options, path, Descriptors(), &handles, &db)
                              : rocksdb::DB::Open(options, path, Descriptors(), &handles, &db);
  RETURN_IF_ERROR(FromRocksDb(status, doing));
  db_.reset(db);
  for (const Family family : kFamilies) handles_[family] = handles[static_cast<size_t>(family)];
  default_handle_ = handles.back();
  return absl::OkStatus();
}

Database::~Database() {
  if (db_ == nullptr) return;
  for (const auto& [family, handle] : handles_) db_->DestroyColumnFamilyHandle(handle);
  db_->DestroyColumnFamilyHandle(default_handle_);
}

absl::StatusOr<std::string> Database::ReadBytes(Family family, const std::string& key,
                                                const std::string& name) const {
  std::string bytes;
  const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), this->family(family), key, &bytes);
  if (status.IsNotFound()) {
    return absl::NotFoundError(absl::StrCat("there is no record ", name, " in ", directory_.string()));
  }
  RETURN_IF_ERROR(FromRocksDb(status, absl::StrCat("cannot read record ", name)));
  return bytes;
}

absl::Status Database::ScanBytes(Family family, const std::string& first, const std::string& end,
                                 VisitBytes visit) const {
  const std::unique_ptr<rocksdb::Iterator> iterator(
      db_->NewIterator(rocksdb::ReadOptions(), this->family(family)));
  for (iterator->Seek(first); iterator->Valid(); iterator->Next()) {
    if (!end.empty() && iterator->key().compare(end) >= 0) break;
    RETURN_IF_ERROR(visit(iterator->key().ToStringView(), iterator->value().ToStringView()));
  }
  return FromRocksDb(iterator->status(),
                     absl::StrCat("cannot read family ", FamilyName(family), " in ", directory_.string()));
}

absl::Status Database::WriteSynced(rocksdb::WriteBatch& batch) {
  rocksdb::WriteOptions options;
  options.sync = true;
  return FromRocksDb(db_->Write(options, &batch), absl::StrCat("cannot write to ", directory_.string()));
}

}  // namespace retort
