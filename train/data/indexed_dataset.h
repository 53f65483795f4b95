// Token files in Megatron-LM's indexed format: NAME.bin holds the token ids back to back, NAME.idx says where
// each sequence starts and which sequences make up a document.
//
//   NAME.idx, little-endian, unaligned:
//     char[9]   "MMIDIDX\0\0"
//     u64       version, 1
//     u8        type of the ids, see TokenType
//     u64       S, number of sequences
//     u64       D, number of entries of the document table
//     i32[S]    tokens of each sequence
//     i64[S]    byte offset of each sequence in NAME.bin
//     i64[D]    first sequence of each document, then S: document i is the sequences [entry i, entry i + 1)
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/files.h"

namespace retort {

// The format's type codes. The others that Megatron-LM knows are refused.
enum class TokenType : uint8_t { kInt32 = 4, kUint16 = 8 };

// The type Megatron-LM picks for a vocabulary: uint16 below 65500 tokens, else int32.
TokenType TokenTypeFor(int32_t vocab_size);
int TokenBytes(TokenType type);

inline constexpr std::string_view kIndexMagic{"MMIDIDX\0\0", 9};
inline constexpr uint64_t kIndexVersion = 1;

// A pair of files mapped into memory. Immutable, so thread-safe; the files must not change while it lives.
class IndexedDataset {
 public:
  // Opens NAME.bin and the NAME.idx beside it, and checks header, tables and sizes against each other and
  // every id against [0, vocab_size), which reads the whole file. DATA_LOSS for a truncated or inconsistent
  // pair, UNIMPLEMENTED for another version or token type, INVALID_ARGUMENT for a path that does not end in
  // .bin, an index that is none or an id outside the vocabulary, NOT_FOUND for a missing file.
  static absl::StatusOr<IndexedDataset> Open(const std::filesystem::path& bin, int32_t vocab_size);

  struct Document {
    uint64_t offset;  // of its first token, in tokens from the file's start
    uint64_t size;    // in tokens
  };

  uint64_t num_documents() const { return num_document_entries_ - 1; }
  uint64_t num_tokens() const { return num_tokens_; }
  Document document(uint64_t i) const;  // i < num_documents()
  const std::filesystem::path& path() const { return path_; }

  // Copies tokens [offset, offset + count) of the whole file to `out`, across documents. OUT_OF_RANGE beyond
  // the end.
  absl::Status ReadTokens(uint64_t offset, uint64_t count, int32_t* out) const;

 private:
  IndexedDataset(std::filesystem::path path, MappedFile bin, MappedFile index);
  absl::Status ReadHeader();
  absl::Status CheckSequences();
  absl::Status CheckDocuments() const;
  absl::Status CheckIds(int32_t vocab_size) const;
  std::string IndexName() const;
  uint64_t PointersAt() const;  // byte offsets of the index's tables
  uint64_t DocumentsAt() const;
  int32_t Token(uint64_t at) const;
  int64_t DocumentEntry(uint64_t i) const;
  // Offset in tokens of sequence i, where i may be one past the last.
  uint64_t SequenceOffset(uint64_t i) const;

  std::filesystem::path path_;
  MappedFile bin_;
  MappedFile index_;
  TokenType type_ = TokenType::kUint16;
  uint64_t num_sequences_ = 0;
  uint64_t num_document_entries_ = 0;
  uint64_t num_tokens_ = 0;
};

}  // namespace retort
