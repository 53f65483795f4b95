// Some hundred seeds of the simulator (docs/simulator.md).
//   RETORT_SIM_SEEDS=N      so many instead, from
//   RETORT_SIM_FIRST_SEED   (default 1) on
//   RETORT_SIM_SEED=N       this one alone, with everything that happens in it
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>

#include "absl/strings/numbers.h"
#include "gtest/gtest.h"
#include "tests/sim/simulation.h"

namespace retort::sim {
namespace {

constexpr uint64_t kSeeds = 300;
constexpr size_t kTraceLines = 60;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* const text = std::getenv(name);
  uint64_t value = 0;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : otherwise;
}

void Report(const Simulation& simulation, uint64_t seed) {
  for (const std::string& violation : simulation.violations()) ADD_FAILURE() << violation;
  std::cerr << "replay it: RETORT_SIM_SEED=" << seed << " build/release/tests/sim_test\n";
}

void Replay(uint64_t seed) {
  Simulation simulation(seed, /*is_traced=*/true);
  simulation.Run();
  for (const std::string& line : simulation.trace()) std::cerr << line << "\n";
  if (!simulation.violations().empty()) Report(simulation, seed);
}

TEST(Simulation, HoldsWhatIsPromisedInEveryHistory) {
  if (const uint64_t seed = FromEnvironment("RETORT_SIM_SEED", 0); seed != 0) return Replay(seed);
  const uint64_t first = FromEnvironment("RETORT_SIM_FIRST_SEED", 1);
  const uint64_t count = FromEnvironment("RETORT_SIM_SEEDS", kSeeds);
  Tally tally;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    Simulation simulation(seed, /*is_traced=*/false);
    simulation.Run();
    tally.Add(simulation.tally());
    if (simulation.violations().empty()) continue;
    return Report(simulation, seed);
  }
  std::cerr << count << " seeds, " << tally.virtual_ms / 1'000 << " virtual seconds: " << tally.succeeded
            << " runs succeeded, " << tally.failed << " failed, " << tally.cancelled << " cancelled; "
            << tally.starts << " starts, " << tally.publishes << " publishes, " << tally.expiries
            << " leases expired, " << tally.yields << " yields, " << tally.recuts << " of them re-cuts, "
            << tally.stale_writes << " stale writes refused\n";
  // The histories reach what they are for.
  if (count < kSeeds) return;
  EXPECT_GT(tally.succeeded, count / 2);
  EXPECT_GT(tally.starts, count);
  EXPECT_GT(tally.expiries, count / 3);
  EXPECT_GT(tally.recuts, count / 3);
  EXPECT_GT(tally.stale_writes, count / 20);
}

TEST(Simulation, IsTheSameHistoryAgain) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Simulation first(seed, /*is_traced=*/true), second(seed, /*is_traced=*/true);
    first.Run();
    second.Run();
    EXPECT_GT(first.trace().size(), 50u);
    EXPECT_EQ(first.trace(), second.trace()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace retort::sim
