#include "core/base/backoff.h"

#include <algorithm>

#include "core/base/check.h"

namespace retort {
namespace {

constexpr int64_t kFirstMs = 200;
constexpr int64_t kMaxMs = 5'000;

}  // namespace

int64_t RepeatWaitMs(int failures, uint64_t random) {
  RETORT_CHECK(failures > 0) << failures;
  const int64_t middle_ms = std::min(kFirstMs << std::min(failures - 1, 10), kMaxMs);
  return middle_ms / 2 + static_cast<int64_t>(random % static_cast<uint64_t>(middle_ms + 1));
}

}  // namespace retort
