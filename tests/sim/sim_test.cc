// Some hundred seeds of the simulator (docs/simulator.md).
//   RETORT_SIM_SEEDS=N      so many instead, from
//   RETORT_SIM_FIRST_SEED   (default 1) on
//   RETORT_SIM_SEED=N       this one alone, with everything that happens in it
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/sim/simulation.h"

namespace retort::sim {
namespace {

constexpr uint64_t kSeeds = 300;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* const text = std::getenv(name);
  uint64_t value = 0;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : otherwise;
}

std::atomic<uint64_t> current_seed = 0;

void SayHowToReplay() {
  const std::string text =
      absl::StrCat("replay it: RETORT_SIM_SEED=", current_seed.load(), " build/release/tests/sim_test\n");
  std::cerr << text;
}

// A broken invariant of our own (RETORT_CHECK) ends the process; it shall say by which seed.
void OnAbort(int signal) {
  SayHowToReplay();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void Report(const Simulation& simulation) {
  for (const std::string& violation : simulation.violations()) ADD_FAILURE() << violation;
  SayHowToReplay();
}

void Replay(uint64_t seed) {
  current_seed = seed;
  Simulation simulation(seed, /*is_traced=*/true);
  simulation.Run();
  for (const std::string& line : simulation.trace()) std::cerr << line << "\n";
  if (!simulation.violations().empty()) Report(simulation);
}

TEST(Simulation, HoldsWhatIsPromisedInEveryHistory) {
  for (const int signal : {SIGABRT, SIGSEGV}) std::signal(signal, OnAbort);
  if (const uint64_t seed = FromEnvironment("RETORT_SIM_SEED", 0); seed != 0) return Replay(seed);
  const uint64_t first = FromEnvironment("RETORT_SIM_FIRST_SEED", 1);
  const uint64_t count = FromEnvironment("RETORT_SIM_SEEDS", kSeeds);
  Tally tally;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    current_seed = seed;
    Simulation simulation(seed, /*is_traced=*/false);
    simulation.Run();
    tally.Add(simulation.tally());
    if (simulation.violations().empty()) continue;
    return Report(simulation);
  }
  std::cerr << count << " seeds, " << tally.virtual_ms / 1'000 << " virtual seconds: " << tally.succeeded
            << " runs succeeded, " << tally.failed << " failed, " << tally.cancelled << " cancelled; "
            << tally.starts << " starts, " << tally.publishes << " publishes, " << tally.expiries
            << " leases expired, " << tally.yields << " yields, " << tally.recuts << " of them re-cuts, "
            << tally.stale_writes << " stale writes refused; " << tally.fewer_ranks
            << " runs got fewer ranks; steps of layers: " << tally.pulled << " pulled, " << tally.by_teacher
            << " from a teacher alone, " << tally.recomputed_for_want
            << " recomputed for want of an answer\n";
  // The histories reach what they are for.
  if (count < kSeeds) return;
  EXPECT_GT(tally.succeeded, count / 2);
  EXPECT_GT(tally.starts, count);
  EXPECT_GT(tally.expiries, count / 3);
  EXPECT_GT(tally.recuts, count / 3);
  EXPECT_GT(tally.stale_writes, count / 40);
  EXPECT_GT(tally.fewer_ranks, 0U);
  EXPECT_GT(tally.pulled, 10 * count);
  EXPECT_GT(tally.by_teacher, count);
  EXPECT_GT(tally.recomputed_for_want, count);
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
