// Ranks as threads of a test, which meet in memory.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/base/mutex.h"
#include "train/parallel/rank_group.h"

namespace retort {

class RendezvousInMemory final : public Rendezvous {
 public:
  absl::Status Set(const std::string& key, const std::string& value) override {
    MutexLock lock(mutex_);
    values_[key] = value;
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<std::optional<std::string>>> Get(const std::vector<std::string>& keys) override {
    MutexLock lock(mutex_);
    std::vector<std::optional<std::string>> values;
    for (const std::string& key : keys) {
      const auto found = values_.find(key);
      values.push_back(found == values_.end() ? std::nullopt : std::optional(found->second));
    }
    return values;
  }
  absl::StatusOr<int64_t> Add(const std::string& key, int64_t amount) override {
    MutexLock lock(mutex_);
    std::string& value = values_[key];
    const int64_t sum = (value.empty() ? 0 : std::stoll(value)) + amount;
    value = std::to_string(sum);
    return sum;
  }
  absl::StatusOr<std::string> CompareSet(const std::string& key, const std::string& expected,
                                         const std::string& desired) override {
    MutexLock lock(mutex_);
    const auto found = values_.find(key);
    const std::string now = found == values_.end() ? "" : found->second;
    if (now != expected) return now;
    values_[key] = desired;
    return desired;
  }

 private:
  Mutex mutex_;
  std::map<std::string, std::string> values_ ABSL_GUARDED_BY(mutex_);
};

// Runs `body` in a thread for each rank of a new group.
inline void WithRanks(int world_size, const std::function<void(RankGroup& group)>& body,
                      std::chrono::milliseconds timeout = std::chrono::seconds(20)) {
  const auto rendezvous = std::make_shared<RendezvousInMemory>();
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < world_size; ++rank) {
    ranks.emplace_back([=, &body] {
      const auto group = RankGroup::Connect(
          {.rank = rank, .world_size = world_size, .timeout = timeout, .address = "127.0.0.1"}, rendezvous);
      ASSERT_TRUE(group.ok()) << group.status();
      body(**group);
    });
  }
  for (std::thread& rank : ranks) rank.join();
}

}  // namespace retort
