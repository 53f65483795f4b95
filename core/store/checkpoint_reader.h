// Reads a kept checkpoint piece by piece, checked: every chunk against its checksum, every tensor that is
// read from its start against its digest before its last piece is given out. One chunk in memory at a time.
// What is open for reading stays readable, also when its manifest is deleted meanwhile.
//
// Not thread-safe; many readers may read one store, which must outlive them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/sha256.h"
#include "core/store/store.h"
#include "core/store/stored_tensor.h"

namespace retort {

class CheckpointReader {
 public:
  struct Piece {
    uint32_t index;  // into tensors()
    uint64_t offset_bytes;
    uint32_t crc32c;        // over `data`, as its worker computed it
    std::string_view data;  // until the next call
  };

  // NOT_FOUND when there is no such manifest (any more).
  static absl::StatusOr<std::unique_ptr<CheckpointReader>> Open(Store& store, const ManifestKey& key,
                                                                std::string_view name_prefix = "");

  const v1::ManifestRecord& manifest() const { return manifest_; }

  // Those whose name begins with the prefix, in the manifest's order.
  const std::vector<v1::StoredTensor>& tensors() const { return tensors_; }

  // Makes that piece the next one. OUT_OF_RANGE when `offset_bytes` is no multiple of kChunkBytes within the
  // tensor (0 is within an empty one).
  absl::Status SeekTo(uint32_t index, uint64_t offset_bytes);

  // In order of index and offset; nothing after the last. DATA_LOSS names the chunk or the tensor.
  absl::StatusOr<std::optional<Piece>> Next();

 private:
  CheckpointReader() = default;
  absl::Status ReadChunk(const ChunkKey& key, uint64_t size);

  v1::ManifestRecord manifest_;
  std::vector<v1::StoredTensor> tensors_;
  std::unique_ptr<rocksdb::Iterator> iterator_;
  v1::ChunkRecord chunk_;  // of the piece given out last
  uint32_t index_ = 0;     // the next piece
  uint64_t offset_bytes_ = 0;
  std::optional<Sha256> sha256_;  // of the tensor so far, when it was read from its start
};

}  // namespace retort
