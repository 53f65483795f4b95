// Which tokens training sequence n of a stage holds: a pure function of (data, seed, stage, n). No iterator
// exists, so a resumed run, another worker or another order of asking gets the same sequences.
//
// A source is a stream of tokens: all files of a list without weights, one after the other, or one file of a
// list with weights. The phase of the stage that n lies in mixes its sources (train/data/mixture.h), which
// says that n is sequence m of source s; sequences that earlier phases of the stage took from s count too, so
// a source goes on where it stood.
//
// A source of N tokens is cut into W windows of T tokens, beginning at a shift in [0, T) drawn anew for each
// epoch, so that windows begin elsewhere in the text each time. An epoch shows each window once, in an order
// drawn from (seed, stage, epoch, s): sequence m is window permutation(m mod W) of epoch m / W. W is the
// number of windows that fit at every shift, at least 1: an epoch leaves up to 2T - 2 tokens out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "retort/v1/job.pb.h"
#include "train/data/mixture.h"
#include "train/data/token_stream.h"

namespace retort {

// Immutable, so thread-safe.
class Batches {
 public:
  // `files`: where TrainFiles(data) lie, in that order. INVALID_ARGUMENT when a source has fewer than
  // `seq_len` tokens; otherwise the errors of TokenStream::Open.
  static absl::StatusOr<Batches> Open(const v1::DataSpec& data,
                                      const std::vector<std::filesystem::path>& files, int vocab_size);

  // Sequences first, first + 1, ..., first + count - 1 of `stage` (any number that tells stages apart), one
  // after the other: count * seq_len ids.
  absl::StatusOr<std::vector<int32_t>> Sequences(int stage, uint64_t first, int count) const;

  int seq_len() const { return seq_len_; }
  // Of the first source.
  uint64_t sequences_per_epoch() const { return sources_.front().windows; }

 private:
  struct Source {
    std::vector<std::string> names;  // as the job writes them: what tells sources apart
    TokenStream stream;
    uint64_t windows;  // W
  };
  // What its stage is trained on from sequence `first` to the next phase of that stage.
  struct Phase {
    int stage;
    uint64_t first;
    Mixture mixture;
    std::vector<size_t> sources;   // the mixture's, as indices of sources_
    std::vector<uint64_t> before;  // of each, the sequences that earlier phases took
  };

  Batches(int seq_len, uint64_t seed) : seq_len_(seq_len), seed_(seed) {}
  // `names` with `weights` as in v1.DataSpec; their files begin at `files`.
  absl::Status AddPhase(int stage, uint64_t first, const std::vector<std::string>& names,
                        std::vector<uint32_t> weights, const std::filesystem::path* files, int vocab_size);
  // The index in sources_ of the source of these names, which is opened if it is new.
  absl::StatusOr<size_t> SourceOf(const std::vector<std::string>& names,
                                  const std::vector<std::filesystem::path>& bins, int vocab_size);
  // Of the first n sequences of `stage`, those of the source.
  uint64_t CountBefore(int stage, uint64_t n, size_t source) const;
  const Phase& PhaseAt(int stage, uint64_t n) const;
  // Where sequence m of a source begins in its stream.
  uint64_t Offset(int stage, size_t source, uint64_t m) const;

  int seq_len_;
  uint64_t seed_;
  std::vector<Source> sources_;
  std::vector<Phase> phases_;  // data.train's, of every stage, then data.phases
};

}  // namespace retort
