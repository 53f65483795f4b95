#include "core/store/checkpoint_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"

namespace retort {

absl::StatusOr<std::unique_ptr<CheckpointReader>> CheckpointReader::Open(Store& store, const ManifestKey& key,
                                                                         std::string_view name_prefix) {
  auto reader = std::unique_ptr<CheckpointReader>(new CheckpointReader);
  // In a transaction, so that nobody deletes the manifest, and drops its chunks, before the iterator exists.
  RETURN_IF_ERROR(store.Transact([&](Transaction& transaction) -> absl::Status {
    ASSIGN_OR_RETURN(reader->manifest_, transaction.Get(key));
    reader->iterator_ = store.chunks().NewIterator();
    return absl::OkStatus();
  }));
  for (const v1::StoredTensor& tensor : reader->manifest_.tensors()) {
    if (std::string_view(tensor.info().name()).starts_with(name_prefix)) reader->tensors_.push_back(tensor);
  }
  return reader;
}

absl::Status CheckpointReader::SeekTo(uint32_t index, uint64_t offset_bytes) {
  RETORT_CHECK(index < tensors_.size()) << index << " of " << tensors_.size();
  ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(tensors_[index].info()));
  if (offset_bytes % kChunkBytes != 0 || (offset_bytes >= bytes && offset_bytes > 0)) {
    return absl::OutOfRangeError(absl::StrCat("byte ", offset_bytes, " of ", tensors_[index].info().name(),
                                              ", which has ", bytes, ": begin at a multiple of ", kChunkBytes,
                                              " within it, or at 0"));
  }
  index_ = index;
  offset_bytes_ = offset_bytes;
  sha256_.reset();
  return absl::OkStatus();
}

absl::StatusOr<std::optional<CheckpointReader::Piece>> CheckpointReader::Next() {
  while (index_ < tensors_.size()) {
    const v1::StoredTensor& tensor = tensors_[index_];
    ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(tensor.info()));
    if (bytes == 0) {
      ++index_;
      continue;
    }
    if (offset_bytes_ == 0) sha256_.emplace();
    const uint64_t size = std::min(kChunkBytes, bytes - offset_bytes_);
    const auto chunk = static_cast<uint32_t>(tensor.first_chunk() + offset_bytes_ / kChunkBytes);
    RETURN_IF_ERROR(ReadChunk({tensor.chunk_publish(), chunk}, size));
    if (sha256_) sha256_->Add(chunk_.data());
    const Piece piece = {index_, offset_bytes_, chunk_.crc32c(), chunk_.data()};
    offset_bytes_ += size;
    if (offset_bytes_ == bytes) {
      if (sha256_) RETURN_IF_ERROR(CheckDigest(KeyOf(manifest_), tensor.info(), sha256_->Digest()));
      ++index_;
      offset_bytes_ = 0;
    }
    return piece;
  }
  return std::nullopt;
}

absl::Status CheckpointReader::ReadChunk(const ChunkKey& key, uint64_t size) {
  const std::string bytes = WriteKey(key);
  if (iterator_->Valid()) iterator_->Next();  // the usual case: the next one is the next one
  if (!iterator_->Valid() || iterator_->key() != bytes) iterator_->Seek(bytes);
  RETURN_IF_ERROR(FromRocksDb(iterator_->status(), absl::StrCat("cannot read ", ToString(key))));
  if (!iterator_->Valid() || iterator_->key() != bytes) {
    return absl::DataLossError(absl::StrCat(ToString(key), ", which ", ToString(KeyOf(manifest_)),
                                            " refers to, is missing; restore a backup"));
  }
  ASSIGN_OR_RETURN(chunk_, DecodeRecord(key, iterator_->value().ToStringView()));
  return CheckChunk(key, chunk_, size);
}

}  // namespace retort
