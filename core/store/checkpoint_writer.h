// A publish under way: takes a checkpoint's chunks as they arrive, checks them, and brings them to the disk
// before the manifests that make them count.
//
//   store.Transact:  check the rows; CheckpointWriter::Begin takes the number
//   Append ...       each missing tensor's chunks, in order; one chunk in memory at a time
//   Finish           all chunks durable and readable, nothing refers to them yet
//   store.Transact:  check the rows again; Put each of manifests(); move the tasks' pointers
//
// The destructor ends the publish: what no committed manifest refers to is removed. After a crash the next
// Store::Open removes it. Each checkpoint byte is written once.
//
// Not thread-safe; several writers may work on one store, which must outlive them.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/sha256.h"
#include "core/store/store.h"
#include "core/store/stored_tensor.h"

namespace retort {

class CheckpointWriter {
 public:
  // Which tensor of which manifest.
  struct Place {
    uint32_t manifest;
    uint32_t tensor;
  };

  // `manifests`, one or more of one run, complete but for `publish` and the tensors' places. Takes the number
  // of the publish in `transaction` and looks up which tensors the kept manifests of the run already hold;
  // those are kept at least as long as this object. Use it only when the transaction was committed.
  //   INVALID_ARGUMENT    a tensor's type, size or digest cannot be; names it
  //   RESOURCE_EXHAUSTED  the disk has no room for what is missing, or hardly any besides
  static absl::StatusOr<std::unique_ptr<CheckpointWriter>> Begin(Store& store, Transaction& transaction,
                                                                 std::vector<v1::ManifestRecord> manifests);
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  uint64_t publish() const { return publish_; }

  // What to send, in this order. Of tensors that are equal only the first is missing; those without elements
  // never are.
  const std::vector<Place>& missing() const { return missing_; }

  // The next chunk: kChunkBytes of missing()[index] from `offset_bytes` on, or what is left of it. After an
  // error the publish is lost: every later call returns that error.
  //   INVALID_ARGUMENT    not the chunk that comes next, or of another size
  //   DATA_LOSS           not the checksum's data, or the tensor that it ends has another digest
  //   RESOURCE_EXHAUSTED, UNAVAILABLE  the disk
  absl::Status Append(uint32_t index, uint64_t offset_bytes, uint32_t crc32c, std::string_view data);

  // FAILED_PRECONDITION, naming the first tensor that is not complete, otherwise as Append. Idempotent.
  absl::Status Finish();

  // As given to Begin, with all places. After Finish.
  const std::vector<v1::ManifestRecord>& manifests() const;

 private:
  CheckpointWriter(Store& store, uint64_t publish, std::vector<v1::ManifestRecord> manifests)
      : store_(store), publish_(publish), manifests_(std::move(manifests)) {}
  absl::Status FindPlaces(const Transaction& transaction);
  absl::Status CheckRoom() const;
  absl::Status AppendChunk(uint32_t index, uint64_t offset_bytes, uint32_t crc32c, std::string_view data);
  absl::Status WriteChunk(uint32_t crc32c, std::string_view data);
  absl::Status EndTensor();
  v1::StoredTensor& TensorAt(const Place& place) {
    return *manifests_[place.manifest].mutable_tensors(static_cast<int>(place.tensor));
  }
  std::string NameOf(const Place& place) const;

  Store& store_;
  const uint64_t publish_;
  std::vector<v1::ManifestRecord> manifests_;
  std::vector<Place> missing_;
  std::set<uint64_t> pins_;
  uint64_t missing_bytes_ = 0;

  std::unique_ptr<rocksdb::SstFileWriter> file_;  // made by the first chunk
  size_t index_ = 0;                              // of missing_, the tensor that arrives
  uint64_t tensor_bytes_ = 0;                     // of it
  uint64_t offset_bytes_ = 0;                     // in it
  uint32_t next_chunk_ = 0;
  Sha256 sha256_;  // of what has arrived of it
  bool is_finished_ = false;
  absl::Status failure_;
};

}  // namespace retort
