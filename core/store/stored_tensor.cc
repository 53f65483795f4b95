#include "core/store/stored_tensor.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/base/crc32c.h"

namespace retort {
namespace {

uint64_t ElementBytes(v1::DataType type) {
  switch (type) {
    case v1::DATA_TYPE_U8:
      return 1;
    case v1::DATA_TYPE_BF16:
      return 2;
    case v1::DATA_TYPE_F32:
      return 4;
    case v1::DATA_TYPE_F64:
      return 8;
    default:
      return 0;
  }
}

}  // namespace

absl::StatusOr<uint64_t> TensorBytes(const v1::TensorInfo& info) {
  constexpr uint64_t kMaxBytes = uint64_t{1} << 52;
  uint64_t bytes = ElementBytes(info.dtype());
  if (bytes == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", info.name(), " has type ", info.dtype(), ", which is none"));
  }
  for (const uint64_t size : info.shape()) {
    if (size == 0) return 0;
  }
  for (const uint64_t size : info.shape()) {
    if (bytes > kMaxBytes / size) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", info.name(), " is larger than 2^52 bytes"));
    }
    bytes *= size;
  }
  return bytes;
}

absl::Status CheckChunk(const ChunkKey& key, const v1::ChunkRecord& chunk, uint64_t size) {
  if (chunk.data().size() != size) {
    return absl::DataLossError(absl::StrCat("record ", ToString(key), " is damaged: it holds ",
                                            chunk.data().size(), " bytes, not ", size));
  }
  if (Crc32c(chunk.data()) != chunk.crc32c()) {
    return absl::DataLossError(
        absl::StrCat("record ", ToString(key), " is damaged: its data does not have its checksum"));
  }
  return absl::OkStatus();
}

absl::Status CheckDigest(const ManifestKey& manifest, const v1::TensorInfo& info, const std::string& sha256) {
  if (sha256 == info.sha256()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("tensor ", info.name(), " of ", ToString(manifest), " has SHA-256 ",
                                          absl::BytesToHexString(sha256), ", but is said to have ",
                                          absl::BytesToHexString(info.sha256())));
}

}  // namespace retort
