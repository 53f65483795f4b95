// Where the ranks of one generation find each other: names and small values that all of them see. The worker
// implements it over the orchestrator's calls.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace retort {

// Thread-safe. Every call may fail: UNAVAILABLE when the generation is over or nobody answers, CANCELLED when
// its owner wants to stop.
class Rendezvous {
 public:
  virtual ~Rendezvous() = default;

  virtual absl::Status Set(const std::string& key, const std::string& value) = 0;
  // Of each key, in order; nullopt: not set yet.
  virtual absl::StatusOr<std::vector<std::optional<std::string>>> Get(
      const std::vector<std::string>& keys) = 0;
  // Adds to a number, kept as decimal text and 0 at first; the sum.
  virtual absl::StatusOr<int64_t> Add(const std::string& key, int64_t amount) = 0;
  // Sets `desired` where the value is `expected`, or where there is none and `expected` is empty. The value
  // afterwards; empty: still none.
  virtual absl::StatusOr<std::string> CompareSet(const std::string& key, const std::string& expected,
                                                 const std::string& desired) = 0;
};

}  // namespace retort
