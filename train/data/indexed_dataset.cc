#include "train/data/indexed_dataset.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

constexpr uint64_t kVersionAt = 9;
constexpr uint64_t kTypeAt = 17;
constexpr uint64_t kNumSequencesAt = 18;
constexpr uint64_t kNumDocumentEntriesAt = 26;
constexpr uint64_t kSizesAt = 34;
constexpr uint64_t kSizeBytes = 4;
constexpr uint64_t kPointerBytes = 8;

// The tables follow a header of odd size, so nothing in them is aligned.
template <typename T>
T Load(const MappedFile& file, uint64_t at) {
  T value;
  std::memcpy(&value, file.data() + at, sizeof(value));
  return value;
}

// The place of the first id that is not below `vocab_size`, or `count`. Id is unsigned: negative ids are
// large.
template <typename Id>
uint64_t FirstOutside(const MappedFile& bin, uint64_t count, uint64_t vocab_size) {
  constexpr uint64_t kBlock = 1 << 14;  // searched only when its largest id is too large: that loop is SIMD
  for (uint64_t begin = 0; begin < count; begin += kBlock) {
    const uint64_t end = std::min(begin + kBlock, count);
    Id largest = 0;
    for (uint64_t i = begin; i < end; ++i) largest = std::max(largest, Load<Id>(bin, i * sizeof(Id)));
    if (largest < vocab_size) continue;
    uint64_t i = begin;
    while (Load<Id>(bin, i * sizeof(Id)) < vocab_size) ++i;
    return i;
  }
  return count;
}

template <typename... What>
absl::Status Damaged(const What&... what) {
  return absl::DataLossError(absl::StrCat(what..., "; fetch or make the pair of files again"));
}

std::string TypeName(int code) {
  static constexpr const char* kNames[] = {"uint8", "int8",    "int16",   "int32",
                                           "int64", "float64", "float32", "uint16"};
  return code >= 1 && code <= 8 ? absl::StrCat(code, " (", kNames[code - 1], ")") : absl::StrCat(code);
}

}  // namespace

TokenType TokenTypeFor(int32_t vocab_size) {
  return vocab_size < 65500 ? TokenType::kUint16 : TokenType::kInt32;
}

int TokenBytes(TokenType type) { return type == TokenType::kUint16 ? 2 : 4; }

IndexedDataset::IndexedDataset(std::filesystem::path path, MappedFile bin, MappedFile index)
    : path_(std::move(path)), bin_(std::move(bin)), index_(std::move(index)) {}

absl::StatusOr<IndexedDataset> IndexedDataset::Open(const std::filesystem::path& bin, int32_t vocab_size) {
  if (bin.extension() != ".bin") {
    return absl::InvalidArgumentError(absl::StrCat(
        "token file ", bin.string(), " does not end in .bin; make one with `retort data tokenize`"));
  }
  std::filesystem::path index = bin;
  index.replace_extension(".idx");
  ASSIGN_OR_RETURN(MappedFile mapped_bin, MappedFile::Open(bin));
  ASSIGN_OR_RETURN(MappedFile mapped_index, MappedFile::Open(index));
  IndexedDataset dataset(bin, std::move(mapped_bin), std::move(mapped_index));
  RETURN_IF_ERROR(dataset.ReadHeader());
  RETURN_IF_ERROR(dataset.CheckSequences());
  RETURN_IF_ERROR(dataset.CheckDocuments());
  RETURN_IF_ERROR(dataset.CheckIds(vocab_size));
  return dataset;
}

std::string IndexedDataset::IndexName() const {
  std::filesystem::path index = path_;
  return index.replace_extension(".idx").string();
}

uint64_t IndexedDataset::PointersAt() const { return kSizesAt + num_sequences_ * kSizeBytes; }
uint64_t IndexedDataset::DocumentsAt() const { return PointersAt() + num_sequences_ * kPointerBytes; }

absl::Status IndexedDataset::ReadHeader() {
  const std::string name = IndexName();
  if (std::string_view(index_.data(), index_.size()).substr(0, kIndexMagic.size()) != kIndexMagic) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, " is no Megatron index: it does not begin with MMIDIDX; make it with `retort data tokenize`"));
  }
  if (index_.size() < kSizesAt) {
    return Damaged(name, " is truncated: ", index_.size(), " bytes, but its header has ", kSizesAt);
  }
  if (const uint64_t version = Load<uint64_t>(index_, kVersionAt); version != kIndexVersion) {
    return absl::UnimplementedError(absl::StrCat(
        name, " has version ", version, "; only version 1 is known. Make it with `retort data tokenize`"));
  }
  const uint8_t type = Load<uint8_t>(index_, kTypeAt);
  type_ = static_cast<TokenType>(type);
  if (type_ != TokenType::kInt32 && type_ != TokenType::kUint16) {
    return absl::UnimplementedError(
        absl::StrCat(name, " has tokens of type ", TypeName(type),
                     "; supported: 4 (int32), 8 (uint16). Make it with `retort data tokenize`"));
  }
  num_sequences_ = Load<uint64_t>(index_, kNumSequencesAt);
  num_document_entries_ = Load<uint64_t>(index_, kNumDocumentEntriesAt);
  // Counts first, so that the sum below cannot overflow.
  if (num_sequences_ > index_.size() || num_document_entries_ > index_.size() ||
      index_.size() != DocumentsAt() + num_document_entries_ * kPointerBytes) {
    return Damaged(name, " has ", index_.size(), " bytes, which do not hold exactly the ", num_sequences_,
                   " sequences and ", num_document_entries_,
                   " document entries of its header: truncated, or not one file");
  }
  return absl::OkStatus();
}

absl::Status IndexedDataset::CheckSequences() {
  const uint64_t token_bytes = TokenBytes(type_);
  uint64_t bytes = 0;
  for (uint64_t i = 0; i < num_sequences_; ++i) {
    const int32_t size = Load<int32_t>(index_, kSizesAt + i * kSizeBytes);
    const int64_t pointer = Load<int64_t>(index_, PointersAt() + i * kPointerBytes);
    if (size < 0 || pointer < 0 || static_cast<uint64_t>(pointer) != bytes) {
      return Damaged(IndexName(), ": sequence ", i, " has ", size, " tokens at byte ", pointer,
                     ", but sequences stand back to back and this one's place is byte ", bytes);
    }
    bytes += size * token_bytes;
  }
  if (bytes != bin_.size()) {
    return Damaged(path_.string(), " has ", bin_.size(), " bytes, but ", IndexName(), " describes ", bytes,
                   ": truncated, or the two are no pair");
  }
  num_tokens_ = bytes / token_bytes;
  return absl::OkStatus();
}

absl::Status IndexedDataset::CheckDocuments() const {
  if (num_document_entries_ == 0 || DocumentEntry(0) != 0) {
    return Damaged(IndexName(), ": the document table does not begin with sequence 0");
  }
  for (uint64_t i = 1; i < num_document_entries_; ++i) {
    if (DocumentEntry(i) < DocumentEntry(i - 1)) {
      return Damaged(IndexName(), ": document ", i, " begins with sequence ", DocumentEntry(i),
                     ", before the one of document ", i - 1);
    }
  }
  if (static_cast<uint64_t>(DocumentEntry(num_document_entries_ - 1)) != num_sequences_) {
    return Damaged(IndexName(), ": the document table ends with sequence ",
                   DocumentEntry(num_document_entries_ - 1), " of ", num_sequences_);
  }
  return absl::OkStatus();
}

absl::Status IndexedDataset::CheckIds(int32_t vocab_size) const {
  const uint64_t at = type_ == TokenType::kUint16 ? FirstOutside<uint16_t>(bin_, num_tokens_, vocab_size)
                                                  : FirstOutside<uint32_t>(bin_, num_tokens_, vocab_size);
  if (at == num_tokens_) return absl::OkStatus();
  uint64_t i = 0;
  while (document(i).offset + document(i).size <= at) ++i;
  return absl::InvalidArgumentError(
      absl::StrCat(path_.string(), ": token ", at, ", in document ", i, ", is ", Token(at),
                   ", outside the teacher's vocabulary of ", vocab_size, ": was another tokenizer used? ",
                   "Tokenize the text again with this teacher's (`retort data tokenize`)"));
}

int64_t IndexedDataset::DocumentEntry(uint64_t i) const {
  return Load<int64_t>(index_, DocumentsAt() + i * kPointerBytes);
}

uint64_t IndexedDataset::SequenceOffset(uint64_t i) const {
  if (i == num_sequences_) return num_tokens_;
  return Load<int64_t>(index_, PointersAt() + i * kPointerBytes) / TokenBytes(type_);
}

IndexedDataset::Document IndexedDataset::document(uint64_t i) const {
  RETORT_CHECK(i < num_documents()) << "document " << i << " of " << num_documents() << " in " << path_;
  const uint64_t offset = SequenceOffset(DocumentEntry(i));
  return {offset, SequenceOffset(DocumentEntry(i + 1)) - offset};
}

int32_t IndexedDataset::Token(uint64_t at) const {
  return type_ == TokenType::kUint16 ? Load<uint16_t>(bin_, at * sizeof(uint16_t))
                                     : Load<int32_t>(bin_, at * sizeof(int32_t));
}

absl::Status IndexedDataset::ReadTokens(uint64_t offset, uint64_t count, int32_t* out) const {
  if (offset > num_tokens_ || count > num_tokens_ - offset) {
    return absl::OutOfRangeError(
        absl::StrCat(path_.string(), ": tokens [", offset, ", +", count, ") asked of ", num_tokens_));
  }
  for (uint64_t i = 0; i < count; ++i) out[i] = Token(offset + i);
  return absl::OkStatus();
}

}  // namespace retort
