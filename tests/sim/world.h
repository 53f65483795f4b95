// A world with one clock and one source of luck: events in order of time, everything drawn from a seed, so
// that a seed is a whole history. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace retort::sim {

class World {
 public:
  // With a trace it keeps a line for everything that happens.
  World(uint64_t seed, bool is_traced) : seed_(seed), is_traced_(is_traced) {}
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  int64_t now_ms() const { return now_ms_; }
  void At(int64_t at_ms, std::function<void()> event);
  void After(int64_t wait_ms, std::function<void()> event) { At(now_ms_ + wait_ms, std::move(event)); }
  // False: nothing will ever happen again.
  bool RunNext();

  uint64_t Draw(uint64_t low, uint64_t high);  // both included
  int64_t DrawMs(int64_t low, int64_t high) {
    return static_cast<int64_t>(Draw(static_cast<uint64_t>(low), static_cast<uint64_t>(high)));
  }
  double DrawUnit();  // from 0, below 1
  bool Chance(double probability) { return probability > 0 && DrawUnit() < probability; }

  template <class... Parts>
  void Trace(const Parts&... parts) {
    if (is_traced_) trace_.push_back(absl::StrCat(now_ms_, " ", parts...));
  }
  // Something that must never happen has happened.
  template <class... Parts>
  void Violation(const Parts&... parts) {
    violations_.push_back(absl::StrCat(parts...));
    Trace("VIOLATION ", violations_.back());
  }
  const std::vector<std::string>& violations() const { return violations_; }
  const std::vector<std::string>& trace() const { return trace_; }

 private:
  struct Event {
    int64_t at_ms;
    uint64_t number;  // of two at one time the one that was planned first
    std::function<void()> run;
    bool operator<(const Event& other) const {
      return at_ms != other.at_ms ? at_ms > other.at_ms : number > other.number;
    }
  };

  const uint64_t seed_;
  const bool is_traced_;
  uint64_t draws_ = 0;
  int64_t now_ms_ = 0;
  uint64_t planned_ = 0;
  std::priority_queue<Event> events_;
  std::vector<std::string> violations_;
  std::vector<std::string> trace_;
};

}  // namespace retort::sim
