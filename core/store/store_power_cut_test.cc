// The power is cut at every single change of the disk in turn, and what was not synced is lost.
#include "core/store/store_workload.h"
#include "tests/support/power_cut.h"

namespace retort {
namespace {

constexpr uint64_t kSteps = 4;

TEST(StorePowerCut, AtAnyMomentLosesNothingThatWasAcknowledgedAndKeepsNothingHalf) {
  int cuts = 0, cuts_within_work = 0;
  for (int64_t operations = 1;; ++operations) {
    SCOPED_TRACE(absl::StrCat("power cut at change ", operations, " of the disk"));
    PowerCutDisk disk;
    std::unique_ptr<Store> store = OpenWithTasks(kMemoryPath, 1, disk.env());
    disk.CutAfter(operations);
    const uint64_t acknowledged = Work(*store, 0, kSteps, [](uint64_t) {});
    const bool was_cut = disk.is_cut();
    store.reset();  // what closing writes is cut too
    cuts += disk.is_cut();
    cuts_within_work += was_cut;
    disk.RestorePower();
    auto reopened = Store::Open(kMemoryPath, disk.env());
    ASSERT_TRUE(reopened.ok()) << reopened.status();
    EXPECT_EQ((*reopened)->epoch(), 2u);
    ASSERT_NO_FATAL_FAILURE(ExpectWhole(**reopened, acknowledged));
    const auto task = (*reopened)->Get(TaskKey{1, kStage, 0});
    EXPECT_EQ(Work(**reopened, task->step(), kSteps, [](uint64_t) {}), kSteps);
    if (!was_cut) break;
  }
  EXPECT_GT(cuts_within_work, 40);
}

TEST(StorePowerCut, WhileAStoreIsMadeLeavesOneThatOpens) {
  bool opened = false;
  for (int64_t operations = 1; !opened; operations += 7) {
    SCOPED_TRACE(absl::StrCat("power cut at change ", operations, " of the disk"));
    PowerCutDisk disk;
    disk.CutAfter(operations);
    opened = Store::Open(kMemoryPath, disk.env()).ok() && !disk.is_cut();
    disk.RestorePower();
    const auto again = Store::Open(kMemoryPath, disk.env());
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_LE((*again)->epoch(), 2u);
  }
}

}  // namespace
}  // namespace retort
