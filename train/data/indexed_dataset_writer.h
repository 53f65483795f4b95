// Writes a pair of token files as indexed_dataset.h describes them, one sequence per document.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/base/files.h"
#include "train/data/indexed_dataset.h"

namespace retort {

// Keeps four bytes of memory per document. Move-only. Not thread-safe. Destroyed without Finish, it leaves
// what stood at both places before.
class IndexedDatasetWriter {
 public:
  // Will write PREFIX.bin and PREFIX.idx; missing directories are made. The ids' type follows from
  // `vocab_size`.
  static absl::StatusOr<IndexedDatasetWriter> Create(const std::filesystem::path& prefix, int32_t vocab_size);

  // Appends one document. INVALID_ARGUMENT when an id lies outside [0, vocab_size) or the document has more
  // than 2^31 - 1 tokens.
  absl::Status Add(absl::Span<const int32_t> document);

  // Puts the pair in place. An older index is removed first and the new one comes last, so that a crash
  // leaves no index beside tokens of another run. Call at most once, as the last thing.
  absl::Status Finish();

  uint64_t num_documents() const { return sizes_.size(); }
  uint64_t num_tokens() const { return num_tokens_; }

 private:
  IndexedDatasetWriter(std::filesystem::path prefix, int32_t vocab_size, AtomicFile bin);
  absl::Status WriteIndex(AtomicFile* index) const;

  std::filesystem::path prefix_;
  int32_t vocab_size_;
  TokenType type_;
  AtomicFile bin_;
  std::string buffer_;          // tokens on their way to bin_
  std::vector<int32_t> sizes_;  // tokens of each document so far
  uint64_t num_tokens_ = 0;
};

}  // namespace retort
