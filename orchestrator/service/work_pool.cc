#include "orchestrator/service/work_pool.h"

#include <utility>

namespace retort::orchestrator {

WorkPool::WorkPool(int threads, std::function<void()> after_each) : after_each_(std::move(after_each)) {
  threads_.reserve(static_cast<size_t>(threads));
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

WorkPool::~WorkPool() {
  {
    MutexLock lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkPool::Add(std::function<void()> task) {
  {
    MutexLock lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  changed_.notify_one();
}

size_t WorkPool::waiting() const {
  MutexLock lock(mutex_);
  return tasks_.size();
}

void WorkPool::Run() {
  while (true) {
    std::function<void()> task;
    {
      MutexLock lock(mutex_);
      changed_.wait(mutex_,
                    [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return is_ending_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
    after_each_();
  }
}

}  // namespace retort::orchestrator
