// A run whose disk becomes full on the way says so, loses nothing and goes on when there is room.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include "absl/strings/strip.h"
#include "core/base/files.h"
#include "tests/support/cluster.h"
#include "tests/system/tiny_run.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

// A file system of its own that only this program and its children see. False where that is not permitted.
bool MountTmpfs(const std::filesystem::path& directory, const char* options) {
  std::filesystem::create_directories(directory);
  return unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount("none", directory.c_str(), "tmpfs", 0, options) == 0;
}

// Takes what is free but for `left_bytes`, at once.
bool Fill(const std::filesystem::path& file, uint64_t left_bytes) {
  const uint64_t free_bytes = std::filesystem::space(file.parent_path()).available;
  const int descriptor = open(file.c_str(), O_CREAT | O_WRONLY, 0600);
  const bool filled = descriptor >= 0 && free_bytes > left_bytes &&
                      posix_fallocate(descriptor, 0, static_cast<off_t>(free_bytes - left_bytes)) == 0;
  close(descriptor);
  return filled;
}

TEST(FullDisk, IsWaitedForAndChangesNoByte) {
  const std::filesystem::path& undisturbed = UndisturbedRun();
  const std::filesystem::path disk = TestPath("disk"), out = disk / "run", service = out / "service";
  if (!MountTmpfs(disk, "size=400m")) GTEST_SKIP() << "mounting a small file system needs root";
  ChildProcess run(Retort(TinyRunArguments(out)));
  ASSERT_TRUE(Eventually(kDeadlineSeconds, [&] { return std::filesystem::exists(service / "address"); }));
  const RunHistory history(std::string(absl::StripAsciiWhitespace(ReadFile(service / "address").value())),
                           /*run_id=*/1);
  ASSERT_TRUE(Eventually(kDeadlineSeconds,
                         [&] { return !history.OfKind(v1::EVENT_KIND_CHECKPOINT_PUBLISHED).empty(); }));
  ASSERT_TRUE(Fill(disk / "filler", 8 << 20));  // less than the 64 MiB that the store leaves free
  const auto says_so = [&] {
    return run.err().find("are kept free; free some space\n") != std::string::npos;
  };
  ASSERT_TRUE(Eventually(kDeadlineSeconds, [&] { return says_so() || !run.running(); }));
  ASSERT_TRUE(run.running());
  EXPECT_FALSE(history.HasEnded(0));
  std::filesystem::remove(disk / "filler");
  const ProgramEnd end = run.Wait(kDeadlineSeconds);
  ASSERT_EQ(end.exit_code, 0) << end.err;
  EXPECT_TRUE(StudentWeights(out) == StudentWeights(undisturbed));
  EXPECT_EQ(umount(disk.c_str()), 0);
}

}  // namespace
}  // namespace retort
