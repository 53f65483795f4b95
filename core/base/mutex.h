// The one lock of this project: std::mutex with the annotations that clang's -Wthread-safety checks. Debian's
// absl::Mutex is compiled without the thread sanitizer's hooks, so the sanitizer would report races that are
// none.
#pragma once

#include <mutex>

#include "absl/base/thread_annotations.h"

namespace retort {

// Not recursive. What it protects is declared ABSL_GUARDED_BY(mutex_). Prefer MutexLock; the names lock and
// unlock let std::condition_variable_any wait on it.
class ABSL_LOCKABLE Mutex {
 public:
  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

// Holds `mutex`, which must outlive it, for a scope.
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace retort
