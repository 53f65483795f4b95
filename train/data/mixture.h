// Which of several sources each sequence of a mixture comes from. Nothing is drawn: of any first n sequences
// a source with weight w of W in all gives more than n w / W - 1 and less than n w / W + 1.
//
// Weights are divided by their common divisor; then the order repeats after W sequences. In it the k-th of a
// source may stand at places floor(k W / w) to ceil((k + 1) W / w) - 1, from which the bounds follow, and
// each place takes, of the sequences that may stand there, the one that must come first; among equals that of
// the first source. This finds a place for all (Baruah et al., "Proportionate progress", 1996, for one
// resource).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace retort {

// Immutable, so thread-safe. Memory and time of making it: W.
class Mixture {
 public:
  // At least one weight, each above 0.
  explicit Mixture(std::vector<uint32_t> weights);

  struct Place {
    size_t source;
    uint64_t rank;  // sequences of this source before it
  };
  Place At(uint64_t n) const;

  // Of the first n sequences, those of `source`.
  uint64_t Count(size_t source, uint64_t n) const;

 private:
  struct PeriodPlace {
    uint32_t source, rank;
  };

  std::vector<uint32_t> weights_;
  std::vector<PeriodPlace> period_;
};

}  // namespace retort
