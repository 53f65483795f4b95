#include "core/base/random.h"

#include "core/base/check.h"

namespace retort {
namespace {

// One output of Steele, Lea and Flood's splitmix64 generator whose state was `state`; a bijection.
uint64_t SplitMix64(uint64_t state) {
  uint64_t z = state + 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace

uint64_t MixSeed(uint64_t seed, std::initializer_list<uint64_t> path) {
  uint64_t mixed = SplitMix64(seed);
  for (const uint64_t index : path) mixed = SplitMix64(mixed + index);
  return mixed;
}

KeyedPermutation::KeyedPermutation(uint64_t size, uint64_t key) : size_(size), half_bits_(2) {
  RETORT_CHECK(size > 0);
  // Two bits at least: with one, the rounds have too few functions to choose from to shuffle well.
  while (half_bits_ < 32 && ((size - 1) >> (2 * half_bits_)) != 0) ++half_bits_;
  for (uint64_t round = 0; round < kRounds; ++round) round_keys_[round] = MixSeed(key, {round});
}

uint64_t KeyedPermutation::operator()(uint64_t i) const {
  RETORT_CHECK(i < size_) << i << " of " << size_;
  const uint64_t half_mask = (uint64_t{1} << half_bits_) - 1;
  // The network permutes up to four times (for tiny sizes sixteen times) as many values; walking its cycle
  // until it is back below size permutes the small range.
  do {
    uint64_t left = i >> half_bits_;
    uint64_t right = i & half_mask;
    for (const uint64_t key : round_keys_) {
      const uint64_t mixed = left ^ (SplitMix64(key ^ right) & half_mask);
      left = right;
      right = mixed;
    }
    i = (left << half_bits_) | right;
  } while (i >= size_);
  return i;
}

}  // namespace retort
