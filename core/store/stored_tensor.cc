#include "core/store/stored_tensor.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/base/crc32c.h"

namespace retort {

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
