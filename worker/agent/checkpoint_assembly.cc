#include "worker/agent/checkpoint_assembly.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/crc32c.h"
#include "core/base/status_macros.h"
#include "core/base/tensor_bytes.h"

namespace retort {

absl::Status CheckpointAssembly::Wrong(absl::StatusCode code, const std::string& what) const {
  return absl::Status(code, absl::StrCat("checkpoint ", checkpoint_.publish(), " of stage ",
                                         checkpoint_.stage(), ", layer ", checkpoint_.layer(), ": ", what));
}

absl::Status CheckpointAssembly::Add(v1::FetchCheckpointReply message) {
  if (message.has_info() && !info_) return Begin(message.info());
  if (message.has_chunk() && info_) return Append(message.chunk());
  return Wrong(absl::StatusCode::kUnknown, "the stream does not begin with one description");
}

absl::Status CheckpointAssembly::Begin(const v1::CheckpointInfo& info) {
  if (info.identity_sha256() != identity_sha256_) {
    return Wrong(absl::StatusCode::kInvalidArgument,
                 "it was made from another job, other inputs or numerics than this slice");
  }
  info_ = info;
  layer_.layer = checkpoint_.layer();
  layer_.step = info.step();
  for (const v1::TensorInfo& tensor : info.tensors()) {
    SavedTensor& saved = layer_.tensors.emplace_back();
    saved.name = tensor.name();
    saved.dtype = tensor.dtype();
    saved.shape.assign(tensor.shape().begin(), tensor.shape().end());
  }
  index_ = -1;
  return EndTensor();
}

// Goes on to the next tensor that has bytes.
absl::Status CheckpointAssembly::EndTensor() {
  while (++index_ < info_->tensors_size()) {
    const absl::StatusOr<uint64_t> bytes = TensorBytes(info_->tensors(index_));
    if (!bytes.ok()) return Wrong(absl::StatusCode::kUnknown, std::string(bytes.status().message()));
    tensor_bytes_ = *bytes;
    sha256_.emplace();
    if (tensor_bytes_ > 0) return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status CheckpointAssembly::Append(const v1::TensorChunk& chunk) {
  if (index_ >= info_->tensors_size()) {
    return Wrong(absl::StatusCode::kUnknown, "more chunks than tensors");
  }
  std::string& bytes = layer_.tensors[index_].bytes;
  const uint64_t left = tensor_bytes_ - bytes.size();
  if (chunk.index() != static_cast<uint32_t>(index_) || chunk.offset_bytes() != bytes.size() ||
      chunk.data().size() != std::min(left, kChunkBytes)) {
    return Wrong(absl::StatusCode::kUnknown,
                 absl::StrCat("a chunk of tensor ", chunk.index(), " at ", chunk.offset_bytes(),
                              " where tensor ", index_, " goes on at ", bytes.size()));
  }
  if (Crc32c(chunk.data()) != chunk.crc32c()) {
    return Wrong(absl::StatusCode::kDataLoss,
                 absl::StrCat("a chunk of ", layer_.tensors[index_].name, " does not have its checksum"));
  }
  bytes += chunk.data();
  sha256_->Add(chunk.data());
  if (bytes.size() < tensor_bytes_) return absl::OkStatus();
  if (sha256_->Digest() != info_->tensors(index_).sha256()) {
    return Wrong(absl::StatusCode::kDataLoss,
                 absl::StrCat("tensor ", layer_.tensors[index_].name, " does not have its digest"));
  }
  return EndTensor();
}

absl::StatusOr<SavedLayer> CheckpointAssembly::Finish() {
  if (!info_ || index_ < info_->tensors_size()) {
    return Wrong(absl::StatusCode::kUnknown, "the stream ended before its last tensor");
  }
  return std::move(layer_);
}

}  // namespace retort
