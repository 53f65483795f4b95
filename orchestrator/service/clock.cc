#include "orchestrator/service/clock.h"

#include <atomic>
#include <chrono>
#include <random>

#include "core/base/random.h"

namespace retort::orchestrator {
namespace {

template <class Clock>
int64_t MsOf() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now().time_since_epoch()).count();
}

}  // namespace

int64_t SteadyMs() { return MsOf<std::chrono::steady_clock>(); }
int64_t UnixMs() { return MsOf<std::chrono::system_clock>(); }

Moment Now() {
  static const uint64_t seed = (uint64_t{std::random_device{}()} << 32) ^ std::random_device{}();
  static std::atomic<uint64_t> drawn = 0;
  return {SteadyMs(), UnixMs(), MixSeed(seed, {drawn.fetch_add(1)})};
}

}  // namespace retort::orchestrator
