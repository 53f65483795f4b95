// Which tokens training sequence n of a stage holds: a pure function of (data, seed, stage, n). No iterator
// exists, so a resumed run, another worker or another order of asking gets the same sequences.
//
// The stream of N tokens is cut into W windows of T tokens, beginning at a shift in [0, T) drawn anew for
// each epoch, so that windows begin elsewhere in the text each time. An epoch shows each window once, in an
// order drawn from (seed, stage, epoch): sequence n is window permutation(n mod W) of epoch n / W. W is the
// number of windows that fit at every shift, at least 1: an epoch leaves up to 2T - 2 tokens out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "absl/status/statusor.h"
#include "train/data/token_stream.h"

namespace retort {

// Immutable, so thread-safe.
class Batches {
 public:
  // Reads `bins` as one stream. INVALID_ARGUMENT when it has fewer than `seq_len` tokens; otherwise the
  // errors of TokenStream::Open.
  static absl::StatusOr<Batches> Open(const std::vector<std::filesystem::path>& bins, int seq_len,
                                      uint64_t seed, int vocab_size);

  // Sequences first, first + 1, ..., first + count - 1 of `stage` (any number that tells stages apart), one
  // after the other: count * seq_len ids.
  absl::StatusOr<std::vector<int32_t>> Sequences(int stage, uint64_t first, int count) const;

  int seq_len() const { return seq_len_; }
  uint64_t num_tokens() const { return stream_.num_tokens(); }
  uint64_t sequences_per_epoch() const { return windows_; }

 private:
  Batches(TokenStream stream, int seq_len, uint64_t seed);
  // Where sequence n of `stage` begins in the stream.
  uint64_t Offset(int stage, uint64_t n) const;

  TokenStream stream_;
  int seq_len_;
  uint64_t seed_;
  uint64_t windows_;  // W
};

}  // namespace retort
