// How a tensor lies in chunks, and whether what lies there is it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "core/base/tensor_bytes.h"
#include "core/store/keys.h"

namespace retort {

inline uint64_t ChunkCount(uint64_t bytes) { return (bytes + kChunkBytes - 1) / kChunkBytes; }

// DATA_LOSS, naming the chunk, when it has another size or checksum.
absl::Status CheckChunk(const ChunkKey& key, const v1::ChunkRecord& chunk, uint64_t size);

// DATA_LOSS, naming the tensor and its manifest, when `sha256` is not its digest.
absl::Status CheckDigest(const ManifestKey& manifest, const v1::TensorInfo& info, const std::string& sha256);

}  // namespace retort
