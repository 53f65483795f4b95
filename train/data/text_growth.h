// How much longer the Replace steps of a tokenizer.json may make a text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace retort {

// A few doublings in a row would fill any memory.
class TextGrowth {
 public:
  static constexpr uint64_t kMost = 64;  // times

  // One more step, at `key`, which puts `to_bytes` where at least `from_bytes` were. UNIMPLEMENTED when all
  // steps together may make a text more than kMost times as long.
  absl::Status Add(const std::string& key, size_t from_bytes, size_t to_bytes);

 private:
  uint64_t times_ = 1;
};

}  // namespace retort
