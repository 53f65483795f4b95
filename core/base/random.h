// Randomness as pure functions of a seed: no generator state to save, so any batch or weight can be made
// again alone. The values decide what a job trains on: DO NOT CHANGE them (random_test.cc pins some).
#pragma once

#include <cstdint>
#include <initializer_list>

namespace retort {

// An independent-looking 64-bit seed for each (seed, path of indices), for example {stage, step, row}. The
// order and the number of the indices matter. Not cryptographic. Thread-safe.
uint64_t MixSeed(uint64_t seed, std::initializer_list<uint64_t> path);

// A shuffle of 0..size-1 in no memory: a bijection picked by `key`, evaluated one index at a time. Immutable,
// so thread-safe.
class KeyedPermutation {
 public:
  // size > 0.
  KeyedPermutation(uint64_t size, uint64_t key);

  // The shuffle's i-th element; i < size.
  uint64_t operator()(uint64_t i) const;

 private:
  static constexpr int kRounds = 8;

  uint64_t size_;
  int half_bits_;  // the Feistel network permutes 0..4^half_bits_-1
  uint64_t round_keys_[kRounds];
};

}  // namespace retort
