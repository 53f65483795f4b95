// Several token files read as one stream, in the order given. Document boundaries are ordinary places in it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "train/data/indexed_dataset.h"

namespace retort {

// Immutable, so thread-safe.
class TokenStream {
 public:
  // INVALID_ARGUMENT without any file; otherwise IndexedDataset::Open's errors.
  static absl::StatusOr<TokenStream> Open(const std::vector<std::filesystem::path>& bins, int32_t vocab_size);

  uint64_t num_tokens() const { return starts_.back(); }

  // Copies tokens [offset, offset + count) of the stream to `out`, across files where need be. OUT_OF_RANGE
  // beyond the end.
  absl::Status Read(uint64_t offset, uint64_t count, int32_t* out) const;

 private:
  explicit TokenStream(std::vector<IndexedDataset> datasets);

  std::vector<IndexedDataset> datasets_;
  std::vector<uint64_t> starts_;  // stream offset of each dataset's first token, then of the end
};

}  // namespace retort
