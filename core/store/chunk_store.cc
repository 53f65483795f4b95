#include "core/store/chunk_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/crash_point.h"
#include "rocksdb/convenience.h"

namespace retort {

std::set<uint64_t> PublishesOf(const v1::ManifestRecord& manifest) {
  std::set<uint64_t> publishes;
  for (const v1::StoredTensor& tensor : manifest.tensors()) publishes.insert(tensor.chunk_publish());
  return publishes;
}

absl::Status ChunkStore::Recover() {
  RETURN_IF_ERROR(RemoveIncomingFiles());
  RETURN_IF_ERROR(CountKeptManifests());
  ASSIGN_OR_RETURN(const std::vector<uint64_t> ranges, Ranges());
  for (const uint64_t publish : ranges) {
    MutexLock lock(mutex_);
    if (!users_.contains(publish)) RETURN_IF_ERROR(DropRange(publish));
  }
  return absl::OkStatus();
}

absl::Status ChunkStore::RemoveIncomingFiles() const {
  const std::string directory = database_.incoming();
  const std::string doing = absl::StrCat("cannot clear ", directory);
  std::vector<std::string> names;
  RETURN_IF_ERROR(FromRocksDb(database_.env().GetChildren(directory, &names), doing));
  for (const std::string& name : names) {
    RETURN_IF_ERROR(FromRocksDb(database_.env().DeleteFile(absl::StrCat(directory, "/", name)), doing));
  }
  return absl::OkStatus();
}

absl::Status ChunkStore::CountKeptManifests() {
  return database_.Scan<ManifestKey>(AllOf<ManifestKey>(),
                                     [this](const ManifestKey&, const v1::ManifestRecord& manifest) {
                                       MutexLock lock(mutex_);
                                       for (const uint64_t publish : PublishesOf(manifest))
                                         ++users_[publish].manifests;
                                       return absl::OkStatus();
                                     });
}

std::string ChunkStore::FileOf(uint64_t publish) const {
  return database_.incoming() / absl::StrCat(publish, ".sst");
}

absl::StatusOr<std::unique_ptr<rocksdb::SstFileWriter>> ChunkStore::CreateFile(uint64_t publish) const {
  rocksdb::Options options(rocksdb::DBOptions(), FamilyOptions(Family::kChunks));
  options.env = &database_.env();
  auto file = std::make_unique<rocksdb::SstFileWriter>(rocksdb::EnvOptions(), options);
  RETURN_IF_ERROR(FromRocksDb(file->Open(FileOf(publish)), absl::StrCat("cannot create ", FileOf(publish))));
  return file;
}

absl::Status ChunkStore::Ingest(uint64_t publish, rocksdb::SstFileWriter& file) {
  const std::string doing = absl::StrCat("cannot store the chunks of publish ", publish);
  RETURN_IF_ERROR(FromRocksDb(file.Finish(), doing));  // syncs
  CrashPoint("store.before_ingest");
  rocksdb::IngestExternalFileOptions options;
  options.move_files = true;
  options.snapshot_consistency = false;  // nobody reads a range before its manifest exists
  options.write_global_seqno = false;    // or it would write into the file
  RETURN_IF_ERROR(FromRocksDb(
      database_.rocksdb().IngestExternalFile(database_.family(Family::kChunks), {FileOf(publish)}, options),
      doing));
  CrashPoint("store.after_ingest");
  return absl::OkStatus();
}

void ChunkStore::DiscardFile(uint64_t publish) const {
  // NOT_FOUND after an ingest; whatever else cannot be removed is removed by the next Recover.
  database_.env().DeleteFile(FileOf(publish)).PermitUncheckedError();
}

void ChunkStore::Pin(const std::set<uint64_t>& publishes) {
  MutexLock lock(mutex_);
  for (const uint64_t publish : publishes) ++users_[publish].pins;
}

void ChunkStore::Unpin(const std::set<uint64_t>& publishes) {
  {
    MutexLock lock(mutex_);
    for (const uint64_t publish : publishes) RemoveUser(publish, &Users::pins);
  }
  DropUnused();
}

void ChunkStore::CountCommitted(const std::vector<v1::ManifestRecord>& put,
                                const std::vector<v1::ManifestRecord>& deleted) {
  MutexLock lock(mutex_);
  for (const v1::ManifestRecord& manifest : put) {
    for (const uint64_t publish : PublishesOf(manifest)) ++users_[publish].manifests;
  }
  for (const v1::ManifestRecord& manifest : deleted) {
    for (const uint64_t publish : PublishesOf(manifest)) RemoveUser(publish, &Users::manifests);
  }
}

void ChunkStore::RemoveUser(uint64_t publish, int64_t Users::*kind) {
  const auto found = users_.find(publish);
  RETORT_CHECK(found != users_.end() && found->second.*kind > 0) << "publish " << publish;
  --(found->second.*kind);
  if (found->second.manifests > 0 || found->second.pins > 0) return;
  users_.erase(found);
  unused_.push_back(publish);
}

void ChunkStore::DropUnused() {
  std::vector<uint64_t> unused;
  {
    MutexLock lock(mutex_);
    unused = std::exchange(unused_, {});
  }
  for (const uint64_t publish : unused) DropRange(publish).IgnoreError();
}

absl::Status ChunkStore::DropRange(uint64_t publish) {
  CrashPoint("store.before_drop");
  const std::string first = WriteKey(ChunkKey{publish, 0}), last = WriteKey(ChunkKey{publish, ~uint32_t{0}});
  const rocksdb::Slice begin(first), end(last);
  // A publish is one file that holds nothing else, so its range goes without a tombstone or a compaction.
  return FromRocksDb(
      rocksdb::DeleteFilesInRange(&database_.rocksdb(), database_.family(Family::kChunks), &begin, &end),
      absl::StrCat("cannot drop the chunks of publish ", publish));
}

std::unique_ptr<rocksdb::Iterator> ChunkStore::NewIterator() const {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  return std::unique_ptr<rocksdb::Iterator>(
      database_.rocksdb().NewIterator(options, database_.family(Family::kChunks)));
}

absl::StatusOr<std::vector<uint64_t>> ChunkStore::Ranges() const {
  std::vector<uint64_t> publishes;
  const std::unique_ptr<rocksdb::Iterator> iterator = NewIterator();
  iterator->SeekToFirst();
  while (iterator->Valid()) {
    ChunkKey key;
    if (!ParseKey(iterator->key().ToStringView(), key)) {
      return UnreadableKey(Family::kChunks, iterator->key().ToStringView());
    }
    publishes.push_back(key.publish);
    iterator->Seek(ChunksOf(key.publish).end);
  }
  RETURN_IF_ERROR(FromRocksDb(iterator->status(), "cannot read family chunks"));
  return publishes;
}

std::optional<uint64_t> ChunkStore::FreeBytes() const {
  uint64_t bytes = 0;
  const bool known = database_.env().GetFreeSpace(database_.directory(), &bytes).ok();
  return known ? std::optional<uint64_t>(bytes) : std::nullopt;
}

}  // namespace retort
