// Threads that carry out what a gRPC thread must not wait for: the disk, long computations. Tasks begin in
// the order in which they were added. Thread-safe.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "core/base/mutex.h"

namespace retort::orchestrator {

class WorkPool {
 public:
  // `after_each` is called after each task, by its thread.
  explicit WorkPool(
      int threads, std::function<void()> after_each = [] {});
  // Carries out what was added, also by the tasks themselves, and then ends.
  ~WorkPool();
  WorkPool(const WorkPool&) = delete;
  WorkPool& operator=(const WorkPool&) = delete;

  void Add(std::function<void()> task);

  // Tasks that nobody has begun.
  size_t waiting() const;

 private:
  void Run();

  const std::function<void()> after_each_;
  mutable Mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool is_ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace retort::orchestrator
