#include "orchestrator/state/cut.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "core/base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::orchestrator {
namespace {

using testing::ElementsAre;

constexpr double kNever = std::numeric_limits<double>::infinity();

// One step of layers 0 and up: each adds `teacher` to what is recomputed and has its own `train`.
RangeTable TableOf(const std::vector<double>& train, double teacher, double bytes_per_layer = 0,
                   double teacher_bytes = 0) {
  RangeTable table(train.size(), teacher_bytes);
  for (size_t begin = 0; begin < train.size(); ++begin) {
    double own = 0;
    for (size_t end = begin + 1; end <= train.size(); ++end) {
      own += train[end - 1];
      const double bytes = bytes_per_layer * static_cast<double>(end - begin);
      table.Set(begin, end, own + teacher * static_cast<double>(end), bytes + teacher_bytes, bytes);
    }
  }
  return table;
}

double Slowest(const RangeTable& table, const std::vector<CutWorker>& workers,
               const std::vector<size_t>& ends) {
  double slowest = 0;
  size_t begin = 0;
  for (size_t w = 0; w < workers.size(); ++w) {
    if (begin < ends[w]) {
      if (table.bytes(begin, ends[w]) > workers[w].memory_bytes) return kNever;
      slowest = std::max(slowest, table.work(begin, ends[w]) / workers[w].speed);
    }
    begin = ends[w];
  }
  return slowest;
}

// The best of all cuts in the given order, by trying every one.
double BestByTrying(const RangeTable& table, const std::vector<CutWorker>& workers) {
  double best = kNever;
  std::vector<size_t> ends(workers.size());
  const std::function<void(size_t, size_t)> place = [&](size_t worker, size_t from) {
    if (worker + 1 == workers.size()) {
      ends[worker] = table.layers();
      best = std::min(best, Slowest(table, workers, ends));
      return;
    }
    for (size_t end = from; end <= table.layers(); ++end) {
      ends[worker] = end;
      place(worker + 1, end);
    }
  };
  place(0, 0);
  return best;
}

struct RandomProblem {
  RangeTable table{0};
  std::vector<CutWorker> workers;  // ascending by speed
  double largest_step = 0;         // what one layer adds
};

RandomProblem Draw(uint64_t seed, bool limits_memory) {
  uint64_t draws = 0;
  const auto draw = [&](double low, double high) {
    return low + (high - low) * static_cast<double>(MixSeed(seed, {++draws}) >> 11) / 9007199254740992.0;
  };
  std::vector<double> train(static_cast<size_t>(draw(1, 8)));
  for (double& seconds : train) seconds = draw(1, 5);
  const double teacher = draw(0, 2);
  RandomProblem problem;
  problem.table = TableOf(train, teacher, 1);
  problem.workers.resize(static_cast<size_t>(draw(1, 5)));
  for (CutWorker& worker : problem.workers) {
    worker = {draw(1, 4), limits_memory ? draw(0, 6) : 1000};
  }
  std::sort(problem.workers.begin(), problem.workers.end(),
            [](const CutWorker& a, const CutWorker& b) { return a.speed < b.speed; });
  problem.largest_step = *std::max_element(train.begin(), train.end()) + teacher;
  return problem;
}

TEST(CutLayers, GivesTheLowerLayersMoreRoomBecauseTheUpperOnesRecompute) {
  // [0, 4) takes 4 + 4, [4, 6) takes 2 + 6.
  const auto cut = CutLayers(TableOf({1, 1, 1, 1, 1, 1}, 1), 0, 6, {{1, 0}, {1, 0}});
  ASSERT_TRUE(cut.has_value());
  EXPECT_THAT(cut->ends, ElementsAre(4, 6));
  EXPECT_EQ(cut->seconds, 8);
}

TEST(CutLayers, GivesAFasterWorkerMore) {
  // Without a teacher: [0, 2) on the slow one takes 2, [2, 8) on the fast one 6 / 3.
  const auto cut = CutLayers(TableOf({1, 1, 1, 1, 1, 1, 1, 1}, 0), 0, 8, {{1, 0}, {3, 0}});
  ASSERT_TRUE(cut.has_value());
  EXPECT_THAT(cut->ends, ElementsAre(2, 8));
  EXPECT_EQ(cut->seconds, 2);
}

TEST(CutLayers, LeavesOutAWorkerThatWouldOnlyBeSlower) {
  const auto cut = CutLayers(TableOf({1, 1}, 10), 0, 2, {{1, 0}, {100, 0}});
  ASSERT_TRUE(cut.has_value());
  EXPECT_THAT(cut->ends, ElementsAre(0, 2));
}

TEST(CutLayers, KeepsToMemory) {
  const RangeTable table = TableOf({1, 1, 1, 1}, 0, /*bytes_per_layer=*/10);
  EXPECT_THAT(CutLayers(table, 0, 4, {{1, 10}, {1, 30}})->ends, ElementsAre(1, 4));
  EXPECT_FALSE(CutLayers(table, 0, 4, {{1, 10}, {1, 20}}).has_value());
}

TEST(CutLayers, CountsOfASharedTeacherAPart) {
  const RangeTable table = TableOf({1, 1, 1, 1}, 0, /*bytes_per_layer=*/10, /*teacher_bytes=*/40);
  EXPECT_FALSE(CutLayers(table, 0, 4, {{1, 40}, {1, 40}}).has_value());
  EXPECT_THAT(CutLayers(table, 0, 4, {{1, 40, 0.5}, {1, 40, 0.5}})->ends, ElementsAre(2, 4));
  EXPECT_FALSE(CutLayers(table, 0, 4, {{1, 39, 0.5}, {1, 39, 0.5}}).has_value());
}

TEST(CutLayers, CutsAPart) {
  const auto cut = CutLayers(TableOf({1, 1, 1, 1, 1, 1}, 0), 2, 6, {{1, 0}, {1, 0}});
  EXPECT_THAT(cut->ends, ElementsAre(4, 6));
}

TEST(CutLayers, NeedsAWorker) { EXPECT_FALSE(CutLayers(TableOf({1}, 0), 0, 1, {}).has_value()); }

TEST(CutLayers, IsTheBestInItsOrder) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const RandomProblem problem = Draw(seed, /*limits_memory=*/seed % 2 == 1);
    const double best = BestByTrying(problem.table, problem.workers);
    const auto cut = CutLayers(problem.table, 0, problem.table.layers(), problem.workers);
    ASSERT_EQ(cut.has_value(), best < kNever) << "seed " << seed;
    if (!cut) continue;
    EXPECT_DOUBLE_EQ(cut->seconds, best) << "seed " << seed;
    EXPECT_DOUBLE_EQ(Slowest(problem.table, problem.workers, cut->ends), best) << "seed " << seed;
  }
}

TEST(CutLayers, FromSlowToFastIsWithinOneLayerOfTheBestOrder) {
  int worse = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    RandomProblem problem = Draw(seed, /*limits_memory=*/false);
    const double ours = CutLayers(problem.table, 0, problem.table.layers(), problem.workers)->seconds;
    const double bound = problem.largest_step / problem.workers.front().speed;
    double best = ours;
    std::vector<size_t> order(problem.workers.size());
    std::iota(order.begin(), order.end(), 0);
    do {
      std::vector<CutWorker> workers;
      for (const size_t w : order) workers.push_back(problem.workers[w]);
      best = std::min(best, CutLayers(problem.table, 0, problem.table.layers(), workers)->seconds);
    } while (std::next_permutation(order.begin(), order.end()));
    EXPECT_LE(ours, best + bound + 1e-9) << "seed " << seed;
    worse += ours > best + 1e-9;
  }
  EXPECT_LT(worse, 100);  // in most it is the best
}

TEST(UsefulWorkers, AreAsManyAsRangesOfTheLargestLayersWork) {
  // Layer 5 alone takes 1 + 6: [0, 3) takes 6, [3, 5) 7, [5, 6) 7.
  EXPECT_EQ(UsefulWorkers(TableOf({1, 1, 1, 1, 1, 1}, 1)), 3u);
  EXPECT_EQ(UsefulWorkers(TableOf({1, 1, 1, 1, 1, 1}, 0)), 6u);
}

}  // namespace
}  // namespace retort::orchestrator
