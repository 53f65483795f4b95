#include "core/base/process.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <memory>
#include <string>

#include "core/base/files.h"

namespace retort {
namespace {

// KiB of this process's memory in huge pages.
int64_t HugeKibibytes() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  int64_t kibibytes = -1;
  for (std::string word; rollup >> word;) {
    if (word == "AnonHugePages:") rollup >> kibibytes;
  }
  return kibibytes;
}

TEST(PrepareNumericProcess, LeavesLargeBlocksInHugePages) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer has a heap of its own";
#endif
  const std::string mode = ReadFile("/sys/kernel/mm/transparent_hugepage/enabled").value_or("");
  if (mode.find("[never]") != std::string::npos || mode.empty() || HugeKibibytes() < 0) {
    GTEST_SKIP() << "this system has no transparent huge pages";
  }
  PrepareNumericProcess();
  constexpr size_t kBytes = 256 << 20;
  const int64_t before = HugeKibibytes();
  const auto block = std::make_unique<char[]>(kBytes);
  std::memset(block.get(), 1, kBytes);
  EXPECT_GT(HugeKibibytes() - before, 128 << 10);
}

}  // namespace
}  // namespace retort
