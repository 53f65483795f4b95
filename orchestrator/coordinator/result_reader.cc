#include "orchestrator/coordinator/result_reader.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/status_macros.h"

namespace retort::orchestrator {

absl::StatusOr<std::unique_ptr<ResultReader>> ResultReader::Open(std::unique_ptr<CheckpointReader> checkpoint,
                                                                 const std::string& file,
                                                                 uint64_t offset_bytes) {
  auto reader = std::unique_ptr<ResultReader>(new ResultReader(std::move(checkpoint)));
  const std::vector<v1::StoredTensor>& tensors = reader->checkpoint_->tensors();
  reader->tensor_of_file_.resize(tensors.size());
  std::iota(reader->tensor_of_file_.begin(), reader->tensor_of_file_.end(), 0);
  std::stable_partition(reader->tensor_of_file_.begin(), reader->tensor_of_file_.end(),
                        [&](uint32_t tensor) { return tensors[tensor].info().name() != "result.json"; });
  std::optional<uint32_t> first;
  for (const uint32_t tensor : reader->tensor_of_file_) {
    const v1::TensorInfo& info = tensors[tensor].info();
    if (!first && (file.empty() || info.name() == file)) first = reader->files_.files_size();
    v1::FileInfo& listed = *reader->files_.add_files();
    listed.set_path(info.name());
    ASSIGN_OR_RETURN(const uint64_t size_bytes, TensorBytes(info));
    listed.set_size_bytes(size_bytes);
    listed.set_sha256(info.sha256());
  }
  if (!first) {
    return absl::NotFoundError(absl::StrCat("the result has no file '", file, "'; its list names all"));
  }
  reader->file_ = *first;
  reader->offset_bytes_ = offset_bytes;
  RETURN_IF_ERROR(reader->checkpoint_->SeekTo(reader->tensor_of_file_[*first], offset_bytes));
  return reader;
}

absl::StatusOr<std::optional<v1::FileChunk>> ResultReader::Next() {
  while (file_ < tensor_of_file_.size()) {
    if (offset_bytes_ == files_.files(static_cast<int>(file_)).size_bytes()) {
      ++file_;
      offset_bytes_ = 0;
      if (file_ < tensor_of_file_.size()) RETURN_IF_ERROR(checkpoint_->SeekTo(tensor_of_file_[file_], 0));
      continue;
    }
    ASSIGN_OR_RETURN(const std::optional<CheckpointReader::Piece> piece, checkpoint_->Next());
    RETORT_CHECK(piece && piece->index == tensor_of_file_[file_]) << "file " << file_;
    v1::FileChunk chunk;
    chunk.set_index(file_);
    chunk.set_offset_bytes(piece->offset_bytes);
    chunk.set_crc32c(piece->crc32c);
    chunk.set_data(piece->data.data(), piece->data.size());
    offset_bytes_ += piece->data.size();
    return chunk;
  }
  return std::nullopt;
}

}  // namespace retort::orchestrator
