#include "train/data/indexed_dataset_writer.h"

#include <limits>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

constexpr size_t kBufferBytes = 1 << 20;

template <typename T>
void AppendValue(T value, std::string* bytes) {
  bytes->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

std::filesystem::path WithSuffix(const std::filesystem::path& prefix, const char* suffix) {
  return prefix.string() + suffix;
}

// Hands `buffer` over once it is large.
absl::Status Drain(std::string* buffer, AtomicFile* file) {
  if (buffer->size() < kBufferBytes) return absl::OkStatus();
  RETURN_IF_ERROR(file->Append(*buffer));
  buffer->clear();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<IndexedDatasetWriter> IndexedDatasetWriter::Create(const std::filesystem::path& prefix,
                                                                  int32_t vocab_size) {
  if (prefix.has_parent_path()) {
    std::error_code error;
    std::filesystem::create_directories(prefix.parent_path(), error);
    if (error) {
      return absl::ErrnoToStatus(error.value(),
                                 absl::StrCat("cannot create directory ", prefix.parent_path().string()));
    }
  }
  ASSIGN_OR_RETURN(AtomicFile bin, AtomicFile::Create(WithSuffix(prefix, ".bin")));
  return IndexedDatasetWriter(prefix, vocab_size, std::move(bin));
}

IndexedDatasetWriter::IndexedDatasetWriter(std::filesystem::path prefix, int32_t vocab_size, AtomicFile bin)
    : prefix_(std::move(prefix)),
      vocab_size_(vocab_size),
      type_(TokenTypeFor(vocab_size)),
      bin_(std::move(bin)) {}

absl::Status IndexedDatasetWriter::Add(absl::Span<const int32_t> document) {
  if (document.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return absl::InvalidArgumentError(absl::StrCat("document ", sizes_.size(), " has ", document.size(),
                                                   " tokens; the format holds 2147483647 at most: split it"));
  }
  for (const int32_t id : document) {
    if (id < 0 || id >= vocab_size_) {
      return absl::InvalidArgumentError(absl::StrCat("document ", sizes_.size(), " has token ", id,
                                                     ", outside the vocabulary of ", vocab_size_));
    }
  }
  for (const int32_t id : document) {
    if (type_ == TokenType::kUint16) {
      AppendValue(static_cast<uint16_t>(id), &buffer_);
    } else {
      AppendValue(id, &buffer_);
    }
  }
  sizes_.push_back(static_cast<int32_t>(document.size()));
  num_tokens_ += document.size();
  return Drain(&buffer_, &bin_);
}

absl::Status IndexedDatasetWriter::Finish() {
  RETURN_IF_ERROR(bin_.Append(buffer_));
  const std::filesystem::path index_path = WithSuffix(prefix_, ".idx");
  ASSIGN_OR_RETURN(AtomicFile index, AtomicFile::Create(index_path));
  RETURN_IF_ERROR(WriteIndex(&index));
  std::error_code error;
  std::filesystem::remove(index_path, error);
  if (error) {
    return absl::ErrnoToStatus(error.value(),
                               absl::StrCat("cannot remove the old index ", index_path.string()));
  }
  RETURN_IF_ERROR(bin_.Commit());
  return index.Commit();
}

absl::Status IndexedDatasetWriter::WriteIndex(AtomicFile* index) const {
  std::string buffer(kIndexMagic);
  AppendValue(kIndexVersion, &buffer);
  AppendValue(static_cast<uint8_t>(type_), &buffer);
  AppendValue(static_cast<uint64_t>(sizes_.size()), &buffer);
  AppendValue(static_cast<uint64_t>(sizes_.size() + 1), &buffer);
  for (const int32_t size : sizes_) {
    AppendValue(size, &buffer);
    RETURN_IF_ERROR(Drain(&buffer, index));
  }
  int64_t pointer = 0;
  for (const int32_t size : sizes_) {
    AppendValue(pointer, &buffer);
    pointer += int64_t{size} * TokenBytes(type_);
    RETURN_IF_ERROR(Drain(&buffer, index));
  }
  for (uint64_t i = 0; i <= sizes_.size(); ++i) {
    AppendValue(static_cast<int64_t>(i), &buffer);
    RETURN_IF_ERROR(Drain(&buffer, index));
  }
  return index->Append(buffer);
}

}  // namespace retort
