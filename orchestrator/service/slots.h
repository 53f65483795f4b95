// How many streams of bytes of one kind may be under way at once: each has a chunk or two in memory. Who
// finds no slot waits its turn. Thread-safe.
#pragma once

#include <deque>
#include <functional>

#include "core/base/mutex.h"

namespace retort::orchestrator {

class Slots {
 public:
  explicit Slots(int count) : free_(count) {}

  // Calls `begin` once a slot is the caller's: at once, or within somebody's Release.
  void Acquire(std::function<void()> begin) {
    {
      MutexLock lock(mutex_);
      if (free_ == 0) {
        waiting_.push_back(std::move(begin));
        return;
      }
      --free_;
    }
    begin();
  }

  void Release() {
    std::function<void()> next;
    {
      MutexLock lock(mutex_);
      if (waiting_.empty()) {
        ++free_;
        return;
      }
      next = std::move(waiting_.front());
      waiting_.pop_front();
    }
    next();
  }

 private:
  Mutex mutex_;
  int free_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace retort::orchestrator
