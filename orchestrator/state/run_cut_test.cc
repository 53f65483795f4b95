#include "orchestrator/state/run_cut.h"

#include <initializer_list>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::orchestrator {
namespace {

using testing::Pair;
using testing::UnorderedElementsAre;

// Layers of work 10 each, and 1 for each teacher block up to the range's end.
RangeTable TableOf(size_t layers) {
  RangeTable table(layers);
  for (size_t begin = 0; begin < layers; ++begin) {
    for (size_t end = begin + 1; end <= layers; ++end) {
      table.Set(begin, end, 10.0 * static_cast<double>(end - begin) + static_cast<double>(end), 0, 0);
    }
  }
  return table;
}

CutCandidate Idle(uint64_t id, double speed = 1) {
  CutCandidate worker;
  worker.worker_id = id;
  worker.limits = {speed, 1};
  return worker;
}

CutCandidate Holder(uint64_t id, size_t begin, size_t end, double speed = 1) {
  CutCandidate worker = Idle(id, speed);
  worker.held_begin = begin;
  worker.held_end = end;
  return worker;
}

constexpr RecutRules kRules = {.min_gain = 0.1, .cost_seconds = 5, .is_allowed = true};

TEST(KeepCut, GivesWhatNobodyHoldsToWhoIsFree) {
  const auto cut = KeepCut(TableOf(6), {Holder(1, 0, 2), Holder(2, 4, 6), Idle(3)});
  EXPECT_THAT(cut->ranges, UnorderedElementsAre(Pair(1, WorkerRange{0, 2}), Pair(2, WorkerRange{4, 6}),
                                                Pair(3, WorkerRange{2, 4})));
  EXPECT_EQ(cut->seconds, 26);  // of [4, 6)
}

TEST(KeepCut, SplitsAGapAmongSeveral) {
  const auto cut = KeepCut(TableOf(6), {Holder(1, 0, 2), Idle(2), Idle(3)});
  EXPECT_THAT(cut->ranges, UnorderedElementsAre(Pair(1, WorkerRange{0, 2}), Pair(2, WorkerRange{2, 4}),
                                                Pair(3, WorkerRange{4, 6})));
}

TEST(KeepCut, SendsSomebodyToEachGapBeforeTwoToOne) {
  const auto cut = KeepCut(TableOf(8), {Holder(1, 1, 2), Idle(2), Idle(3)});
  EXPECT_THAT(cut->ranges, UnorderedElementsAre(Pair(1, WorkerRange{1, 2}), Pair(2, WorkerRange{2, 8}),
                                                Pair(3, WorkerRange{0, 1})));
}

TEST(KeepCut, AppendsAGapToTheHolderThatIsThroughFirst) {
  // 1: 22 + (10 + 3); 2: 35 + (10 + 3) at half the speed.
  const auto cut = KeepCut(TableOf(5), {Holder(1, 0, 2), Holder(2, 3, 5, /*speed=*/0.5)});
  EXPECT_THAT(cut->ranges, UnorderedElementsAre(Pair(1, WorkerRange{0, 3}), Pair(2, WorkerRange{3, 5})));
}

TEST(KeepCut, ReturnsAWorkerToWhereItWas) {
  CutCandidate was_above = Idle(2);
  was_above.planned_begin = 4;
  CutCandidate was_below = Idle(3);
  was_below.planned_begin = 0;
  const auto cut = KeepCut(TableOf(6), {Holder(1, 2, 4), was_above, was_below});
  EXPECT_THAT(cut->ranges, UnorderedElementsAre(Pair(1, WorkerRange{2, 4}), Pair(2, WorkerRange{4, 6}),
                                                Pair(3, WorkerRange{0, 2})));
}

TEST(CutAnew, PutsTheSlowWorkerAtTheBottomAndEqualOnesWhereTheyAre) {
  const auto cut = CutAnew(TableOf(6), {Holder(1, 3, 6, 1), Holder(2, 0, 3, 1), Idle(3, 0.5)});
  ASSERT_TRUE(cut.has_value());
  EXPECT_EQ(cut->ranges.at(3).begin, 0u);
  EXPECT_LT(cut->ranges.at(2).begin, cut->ranges.at(1).begin);
}

TEST(ChooseCut, TakesTheFirstCutAsItComes) {
  std::string reason;
  const auto chosen = ChooseCut(TableOf(6), {Idle(1), Idle(2)}, kRules, reason);
  EXPECT_FALSE(chosen->is_recut);
  EXPECT_EQ(reason, "first cut over 2 workers: 36 s");
}

TEST(ChooseCut, CutsAnewWhenThatPays) {
  std::string reason;
  const auto chosen = ChooseCut(TableOf(6), {Holder(1, 0, 6), Idle(2)}, kRules, reason);
  EXPECT_TRUE(chosen->is_recut);
  EXPECT_EQ(reason,
            "cut anew over 2 workers: 36 s instead of 66 s, which saves more than the 6.6 s that it must");
}

TEST(ChooseCut, KeepsWhatACutWouldHardlyMend) {
  std::string reason;
  const auto chosen =
      ChooseCut(TableOf(6), {Holder(1, 0, 3), Holder(2, 3, 6), Idle(3)}, {0.5, 5, true}, reason);
  EXPECT_FALSE(chosen->is_recut);
  EXPECT_EQ(reason, "kept at 36 s: a new cut would save 10 s and must save 18 s");
}

TEST(ChooseCut, CountsWhatMovingTakes) {
  std::string reason;
  ChooseCut(TableOf(6), {Holder(1, 0, 3), Holder(2, 3, 6), Idle(3)}, {0.1, 12, true}, reason);
  EXPECT_EQ(reason, "kept at 36 s: a new cut would save 10 s and must save 12 s");
}

TEST(ChooseCut, WaitsForTheLastOneToSettle) {
  std::string reason;
  const auto chosen = ChooseCut(TableOf(6), {Holder(1, 0, 6), Idle(2)}, {0.1, 5, false}, reason);
  EXPECT_FALSE(chosen->is_recut);
  EXPECT_EQ(reason, "kept at 66 s; a new cut (36 s) waits for the last one to settle");
}

TEST(ChooseCut, SaysWhatDoesNotFit) {
  RangeTable table(1);
  table.Set(0, 1, 1, 3e9, 3e9);
  std::string reason;
  EXPECT_FALSE(ChooseCut(table, {Idle(1)}, kRules, reason).has_value());
  EXPECT_EQ(reason, "does not fit: a slice needs 2.8 GiB");
  EXPECT_FALSE(ChooseCut(table, {}, kRules, reason).has_value());
  EXPECT_EQ(reason, "no worker is free for it");
}

}  // namespace
}  // namespace retort::orchestrator
