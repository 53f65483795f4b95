// What the store's tests share: a directory, checkpoints made of plain bytes, and a publish from begin to
// commit.
#pragma once

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/crc32c.h"
#include "core/base/sha256.h"
#include "core/store/checkpoint_reader.h"
#include "core/store/checkpoint_writer.h"
#include "core/store/manifests.h"
#include "core/store/store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/env.h"

namespace retort {

inline constexpr v1::Stage kStage = v1::STAGE_HIDDEN_STATE_ALIGNMENT;

// A directory that does not exist yet and is gone at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    static std::atomic<int> number{0};
    path_ = std::filesystem::temp_directory_path() / absl::StrCat("retort_store_", getpid(), "_", number++);
    std::filesystem::remove_all(path_);
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// A file system in memory: a new store on the disk costs half a second of syncs.
inline std::unique_ptr<rocksdb::Env> MemoryDisk() {
  return std::unique_ptr<rocksdb::Env>(rocksdb::NewMemEnv(rocksdb::Env::Default()));
}
inline constexpr char kMemoryPath[] = "/state";  // of a store there

struct NamedBytes {
  std::string name;
  std::string bytes;
};

inline std::string Sha256Of(std::string_view bytes) {
  Sha256 sha256;
  sha256.Add(bytes);
  return sha256.Digest();
}

// `size` bytes that do not repeat and differ with `seed`.
inline std::string Noise(size_t size, uint64_t seed) {
  std::string bytes(size, '\0');
  uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;
  for (char& byte : bytes) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    byte = static_cast<char>(state >> 32);
  }
  return bytes;
}

// A manifest that declares `tensors` as U8 tensors.
inline v1::ManifestRecord Declare(uint64_t run_id, uint32_t layer, uint64_t step,
                                  const std::vector<NamedBytes>& tensors) {
  v1::ManifestRecord manifest;
  manifest.set_run_id(run_id);
  manifest.set_stage(kStage);
  manifest.set_layer(layer);
  manifest.set_step(step);
  for (const NamedBytes& tensor : tensors) {
    v1::TensorInfo& info = *manifest.add_tensors()->mutable_info();
    info.set_name(tensor.name);
    info.set_dtype(v1::DATA_TYPE_U8);
    info.add_shape(tensor.bytes.size());
    info.set_sha256(Sha256Of(tensor.bytes));
  }
  return manifest;
}

inline v1::TaskRecord LeasedTask(uint64_t run_id, uint32_t layer, uint64_t token) {
  v1::TaskRecord task;
  task.set_run_id(run_id);
  task.set_stage(kStage);
  task.set_layer(layer);
  task.set_state(v1::TASK_STATE_LEASED);
  task.set_token(token);
  return task;
}

inline absl::StatusOr<std::unique_ptr<CheckpointWriter>> BeginPublish(
    Store& store, const std::vector<v1::ManifestRecord>& manifests) {
  std::unique_ptr<CheckpointWriter> writer;
  RETURN_IF_ERROR(store.Transact([&](Transaction& transaction) -> absl::Status {
    ASSIGN_OR_RETURN(writer, CheckpointWriter::Begin(store, transaction, manifests));
    return absl::OkStatus();
  }));
  return writer;
}

// Sends the missing tensors whole; `layers` as the manifests were declared.
inline absl::Status Send(CheckpointWriter& writer, const std::vector<std::vector<NamedBytes>>& layers) {
  for (uint32_t i = 0; i < writer.missing().size(); ++i) {
    const CheckpointWriter::Place place = writer.missing()[i];
    const std::string_view bytes = layers[place.manifest][place.tensor].bytes;
    for (size_t offset = 0; offset < bytes.size(); offset += kChunkBytes) {
      const std::string_view data = bytes.substr(offset, kChunkBytes);
      RETURN_IF_ERROR(writer.Append(i, offset, Crc32c(data), data));
    }
  }
  return absl::OkStatus();
}

// What the orchestrator does at CommitPublish: the fence, the manifests, the rows' pointers, the keep rules.
// A step's loss is 1 / step, so the best is the last, unless `loss` says otherwise.
inline absl::Status CommitPublish(Store& store, CheckpointWriter& writer, uint64_t token, double loss) {
  RETURN_IF_ERROR(writer.Finish());
  return store.Transact([&](Transaction& transaction) -> absl::Status {
    for (v1::ManifestRecord manifest : writer.manifests()) {
      const TaskKey key = {manifest.run_id(), manifest.stage(), manifest.layer()};
      ASSIGN_OR_RETURN(v1::TaskRecord task, transaction.GetHeldTask(key, token));
      manifest.set_token(token);
      manifest.set_loss(loss);
      const bool is_best = task.best_publish() == 0 || loss < task.last_loss();
      task.set_step(manifest.step());
      task.set_last_publish(manifest.publish());
      if (is_best) task.set_best_publish(manifest.publish());
      if (is_best) task.set_last_loss(loss);  // here: of the best
      transaction.Put(manifest);
      transaction.Put(task);
      RETURN_IF_ERROR(DeleteSupersededManifests(transaction, task, /*result_publish=*/0));
    }
    return absl::OkStatus();
  });
}

// A whole publish of one layer; returns its number.
inline absl::StatusOr<uint64_t> Publish(Store& store, uint32_t layer, uint64_t token, uint64_t step,
                                        double loss, const std::vector<NamedBytes>& tensors) {
  ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointWriter> writer,
                   BeginPublish(store, {Declare(1, layer, step, tensors)}));
  RETURN_IF_ERROR(Send(*writer, {tensors}));
  RETURN_IF_ERROR(CommitPublish(store, *writer, token, loss));
  return writer->publish();
}

// All tensors of a checkpoint as the reader gives them.
inline absl::StatusOr<std::vector<NamedBytes>> ReadCheckpoint(Store& store, const ManifestKey& key,
                                                              std::string_view prefix = "") {
  ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> reader,
                   CheckpointReader::Open(store, key, prefix));
  std::vector<NamedBytes> tensors;
  for (const v1::StoredTensor& tensor : reader->tensors()) tensors.push_back({tensor.info().name(), ""});
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<CheckpointReader::Piece> piece, reader->Next());
    if (!piece) return tensors;
    EXPECT_EQ(piece->offset_bytes, tensors[piece->index].bytes.size());
    EXPECT_EQ(piece->crc32c, Crc32c(piece->data));
    tensors[piece->index].bytes += piece->data;
  }
}

inline bool operator==(const NamedBytes& a, const NamedBytes& b) {
  return a.name == b.name && a.bytes == b.bytes;
}
inline void PrintTo(const NamedBytes& tensor, std::ostream* out) {
  *out << tensor.name << " of " << tensor.bytes.size() << " bytes";
}

inline std::vector<uint64_t> Ranges(Store& store) { return store.chunks().Ranges().value(); }

// A store with task (1, kStage, 0..layers-1) LEASED under token 1.
inline std::unique_ptr<Store> OpenWithTasks(const std::filesystem::path& directory, uint32_t layers = 2,
                                            rocksdb::Env* env = nullptr) {
  std::unique_ptr<Store> store = Store::Open(directory, env).value();
  const absl::Status status = store->Transact([layers](Transaction& transaction) {
    const uint64_t token = transaction.TakeToken();
    for (uint32_t layer = 0; layer < layers; ++layer) transaction.Put(LeasedTask(1, layer, token));
    v1::RunRecord run;
    run.set_run_id(transaction.TakeRunId());
    transaction.Put(run);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return store;
}

}  // namespace retort
