// Whether a worker may still work under its lease, judged by its own monotonic clock alone: the self-stop
// rule of docs/protocol.md. Times in milliseconds. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>

namespace retort {

class LeaseClock {
 public:
  LeaseClock(int64_t ttl_ms, int64_t margin_ms) : work_ms_(ttl_ms - margin_ms) {}

  // A heartbeat that was sent then has been answered CONTINUE or YIELD.
  void Renew(int64_t sent_ms) {
    if (!renewed_ms_ || *renewed_ms_ < sent_ms) renewed_ms_ = sent_ms;
  }

  // Whether a step or a publish may begin. Never before the first Renew.
  bool may_work(int64_t now_ms) const { return renewed_ms_ && now_ms - *renewed_ms_ < work_ms_; }

 private:
  int64_t work_ms_;
  std::optional<int64_t> renewed_ms_;
};

}  // namespace retort
