// An executor with a fixed number of threads of its own, for tests without LibTorch.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#include "kernels/base/executor.h"

namespace retort {

class TestingThreads : public Executor {
 public:
  explicit TestingThreads(int threads) : threads_(threads) {}
  void Run(int64_t items, ItemBody body) const override {
    std::atomic<int64_t> next{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < threads_; ++t) {
      threads.emplace_back([&] {
        for (int64_t item = next++; item < items; item = next++) body(item);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

 private:
  int threads_;
};

}  // namespace retort
