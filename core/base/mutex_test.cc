#include "core/base/mutex.h"

#include <condition_variable>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace retort {
namespace {

class Counter {
 public:
  void Add() {
    MutexLock lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  void WaitFor(int count) {
    MutexLock lock(mutex_);
    while (count_ < count) changed_.wait(mutex_);
  }
  int count() {
    MutexLock lock(mutex_);
    return count_;
  }

 private:
  Mutex mutex_;
  std::condition_variable_any changed_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
};

TEST(Mutex, LetsOneThreadInAtATime) {
  Counter counter;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&counter] {
      for (int i = 0; i < 10'000; ++i) counter.Add();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.count(), 40'000);
}

TEST(Mutex, CanBeWaitedOn) {
  Counter counter;
  std::thread adder([&counter] { counter.Add(); });
  counter.WaitFor(1);
  adder.join();
  EXPECT_EQ(counter.count(), 1);
}

}  // namespace
}  // namespace retort
