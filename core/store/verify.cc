#include "core/store/verify.h"

#include <algorithm>
#include <memory>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/base/sha256.h"
#include "core/store/chunk_store.h"
#include "core/store/database.h"
#include "core/store/store.h"
#include "core/store/stored_tensor.h"

namespace retort {
namespace {

// One reading of one store. Goes on after a damage as far as RocksDB can: a block that it cannot read ends
// the family's scan, so every chunk that a manifest refers to is also asked for by its key.
class Verification {
 public:
  explicit Verification(const Database& database) : database_(database) {}

  VerifyReport Run(const v1::MetaRecord& meta) {
    meta_ = meta;
    report_.epoch = meta.epoch();
    report_.records[Family::kMeta] = 1;
    ReadFamily<RunKey>([this](const RunKey& key, const v1::RunRecord& run) {
      ExpectBelow(key, "run id", key.run_id, meta_.next_run_id());
      if (run.result_publish() > 0) {
        ExpectManifest(key, {run.run_id(), v1::STAGE_END_TO_END, 0, run.result_publish()});
      }
    });
    ReadFamily<TaskKey>([this](const TaskKey& key, const v1::TaskRecord& task) {
      ExpectBelow(key, "token", task.token(), meta_.next_token());
      for (const uint64_t publish : std::set<uint64_t>{task.last_publish(), task.best_publish()}) {
        if (publish > 0) ExpectManifest(key, {key.run_id, key.stage, key.layer, publish});
      }
    });
    ReadFamily<LeaseKey>([this](const LeaseKey& key, const v1::LeaseRecord&) {
      ExpectBelow(key, "token", key.token, meta_.next_token());
    });
    ReadFamily<AttemptKey>([this](const AttemptKey& key, const v1::AttemptRecord&) {
      ExpectBelow(key, "token", key.token, meta_.next_token());
    });
    ReadFamily<EventKey>([this](const EventKey& key, const v1::EventRecord&) {
      ExpectBelow(key, "sequence", key.sequence, meta_.next_event_sequence());
    });
    ReadFamily<RequestKey>([](const RequestKey&, const v1::RequestRecord&) {});
    ReadFamily<ManifestKey>([this](const ManifestKey& key, const v1::ManifestRecord& manifest) {
      ExpectBelow(key, "publish", key.publish, meta_.next_publish());
      referred_.merge(PublishesOf(manifest));
      for (const v1::StoredTensor& tensor : manifest.tensors()) ReadTensor(key, tensor);
    });
    ReadChunks();
    return std::move(report_);
  }

 private:
  void Add(Family family, const std::string& message) { report_.damages.push_back({family, message}); }

  // Shows `check` every record that can be read.
  template <class Key, class Check>
  void ReadFamily(Check check) {
    const std::unique_ptr<rocksdb::Iterator> iterator(
        database_.rocksdb().NewIterator(rocksdb::ReadOptions(), database_.family(Key::kFamily)));
    std::string last = "its beginning";
    for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) {
      Key key;
      if (!ParseKey(iterator->key().ToStringView(), key)) {
        Add(Key::kFamily, std::string(UnreadableKey(Key::kFamily, iterator->key().ToStringView()).message()));
        continue;
      }
      last = ToString(key);
      const auto record = DecodeRecord(key, iterator->value().ToStringView());
      if (!record.ok()) {
        Add(Key::kFamily, std::string(record.status().message()));
        continue;
      }
      ++report_.records[Key::kFamily];
      check(key, *record);
    }
    AddEndOfScan(Key::kFamily, last, iterator->status());
  }

  void AddEndOfScan(Family family, const std::string& last, const rocksdb::Status& status) {
    if (status.ok()) return;
    Add(family, absl::StrCat("family ", FamilyName(family), " cannot be read on from ", last, ": ",
                             status.ToString()));
  }

  template <class Key>
  void ExpectBelow(const Key& key, const char* what, uint64_t number, uint64_t next) {
    if (number < next) return;
    Add(Key::kFamily, absl::StrCat("record ", ToString(key), " has ", what, " ", number,
                                   ", and meta/store would give it out again: its next is ", next));
  }

  template <class Key>
  void ExpectManifest(const Key& key, const ManifestKey& manifest) {
    std::string unused;
    const rocksdb::Status status = database_.rocksdb().Get(
        rocksdb::ReadOptions(), database_.family(Family::kManifests), WriteKey(manifest), &unused);
    if (status.ok()) return;
    Add(Key::kFamily, absl::StrCat("record ", ToString(key), " refers to ", ToString(manifest), ": ",
                                   status.IsNotFound() ? "it is missing" : status.ToString()));
  }

  void ReadTensor(const ManifestKey& manifest, const v1::StoredTensor& tensor) {
    const absl::StatusOr<uint64_t> bytes = TensorBytes(tensor.info());
    if (!bytes.ok()) {
      Add(Family::kManifests, absl::StrCat("record ", ToString(manifest),
                                           " is damaged: ", std::string(bytes.status().message())));
      return;
    }
    Sha256 sha256;
    bool is_whole = true;
    for (uint64_t offset = 0; offset < *bytes; offset += kChunkBytes) {
      const ChunkKey key = {tensor.chunk_publish(),
                            static_cast<uint32_t>(tensor.first_chunk() + offset / kChunkBytes)};
      const auto chunk = ReadChunk(key, std::min(kChunkBytes, *bytes - offset));
      if (chunk.ok()) sha256.Add(chunk->data());
      if (!chunk.ok() && damaged_.insert(key).second)
        Add(Family::kChunks, std::string(chunk.status().message()));
      is_whole = is_whole && chunk.ok();
    }
    if (!is_whole) return;
    const absl::Status digest = CheckDigest(manifest, tensor.info(), sha256.Digest());
    if (!digest.ok()) Add(Family::kChunks, std::string(digest.message()));
  }

  absl::StatusOr<v1::ChunkRecord> ReadChunk(const ChunkKey& key, uint64_t size) {
    ASSIGN_OR_RETURN(v1::ChunkRecord chunk, database_.Get(key));
    RETURN_IF_ERROR(CheckChunk(key, chunk, size));
    return chunk;
  }

  // All chunks, those that nobody refers to included.
  void ReadChunks() {
    std::set<uint64_t> leftovers;
    ReadFamily<ChunkKey>([&](const ChunkKey& key, const v1::ChunkRecord& chunk) {
      report_.chunk_bytes += chunk.data().size();
      if (!referred_.contains(key.publish)) leftovers.insert(key.publish);
      const absl::Status status = CheckChunk(key, chunk, chunk.data().size());
      if (!status.ok() && damaged_.insert(key).second) Add(Family::kChunks, std::string(status.message()));
    });
    report_.leftover_ranges = leftovers.size();
  }

  const Database& database_;
  v1::MetaRecord meta_;
  VerifyReport report_;
  std::set<uint64_t> referred_;  // publishes
  std::set<ChunkKey> damaged_;   // reported already
};

}  // namespace

absl::Status VerifyReport::status() const {
  if (damages.empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(damages.size(), " damages, first: ", damages[0].message));
}

absl::StatusOr<VerifyReport> VerifyStore(const std::filesystem::path& directory, rocksdb::Env* env) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Database> database,
                   Database::Open(directory, Database::Mode::kReadOnly, env));
  ASSIGN_OR_RETURN(const v1::MetaRecord meta, ReadMeta(*database));
  return Verification(*database).Run(meta);
}

std::string RenderVerify(const VerifyReport& report) {
  std::string text;
  for (const Family family : kFamilies) {
    const auto found = report.records.find(family);
    absl::StrAppend(&text, FamilyName(family), ": ", found == report.records.end() ? 0 : found->second,
                    " records\n");
  }
  absl::StrAppend(&text, "checkpoint bytes: ", report.chunk_bytes, "\nepoch: ", report.epoch, "\n");
  if (report.leftover_ranges > 0) {
    absl::StrAppend(&text, "left over from publishes that were never committed: ", report.leftover_ranges,
                    " ranges; the next start drops them\n");
  }
  for (const Damage& damage : report.damages) {
    absl::StrAppend(&text, "damage in ", FamilyName(damage.family), ": ", damage.message, "\n");
  }
  absl::StrAppend(&text, report.damages.empty() ? "no damage\n" : "");
  return text;
}

}  // namespace retort
