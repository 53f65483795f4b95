// A run whose disk is full says so, loses nothing and goes on when there is room.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>

#include "core/base/files.h"
#include "tests/support/cluster.h"
#include "tests/system/tiny_run.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

using testing::HasSubstr;

// A file system of its own that only this program and its children see. False where that is not permitted.
bool MountTmpfs(const std::filesystem::path& directory, const char* options) {
  std::filesystem::create_directories(directory);
  return unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount("none", directory.c_str(), "tmpfs", 0, options) == 0;
}

TEST(FullDisk, IsWaitedForAndChangesNoByte) {
  const std::filesystem::path& undisturbed = UndisturbedRun();
  const std::filesystem::path disk = TestPath("disk"), out = disk / "run";
  // Less than the 64 MiB that the store leaves free.
  if (!MountTmpfs(disk, "size=8m")) GTEST_SKIP() << "mounting a small file system needs root";
  ChildProcess run(Retort(TinyRunArguments(out)));
  const auto refused = [&] {
    const auto log = ReadFile(out / "service/worker-1.log");
    return log.ok() && log->find("free some space") != std::string::npos;
  };
  ASSERT_TRUE(Eventually(kDeadlineSeconds, [&] { return refused() || !run.running(); }));
  ASSERT_TRUE(run.running());
  ASSERT_EQ(mount("none", disk.c_str(), "tmpfs", MS_REMOUNT, "size=400m"), 0);
  const ProgramEnd end = run.Wait(kDeadlineSeconds);
  ASSERT_EQ(end.exit_code, 0) << end.err;
  EXPECT_THAT(end.err, HasSubstr("are kept free; free some space\n"));
  EXPECT_TRUE(StudentWeights(out) == StudentWeights(undisturbed));
  EXPECT_EQ(umount(disk.c_str()), 0);
}

}  // namespace
}  // namespace retort
