#include "tests/sim/world.h"

#include <algorithm>

#include "core/base/check.h"
#include "core/base/random.h"

namespace retort::sim {

void World::At(int64_t at_ms, std::function<void()> event) {
  events_.push({std::max(at_ms, now_ms_), ++planned_, std::move(event)});
}

bool World::RunNext() {
  if (events_.empty()) return false;
  const std::function<void()> run = std::move(const_cast<Event&>(events_.top()).run);
  now_ms_ = events_.top().at_ms;
  events_.pop();
  run();
  return true;
}

uint64_t World::Draw(uint64_t low, uint64_t high) {
  RETORT_CHECK(low <= high) << low << " " << high;
  return low + MixSeed(seed_, {++draws_}) % (high - low + 1);
}

double World::DrawUnit() {
  return static_cast<double>(MixSeed(seed_, {++draws_}) >> 11) / 9007199254740992.0;  // 2^53
}

}  // namespace retort::sim
