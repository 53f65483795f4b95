#include "worker/run/this_machine.h"

#include <filesystem>
#include <string>

#include "gtest/gtest.h"

namespace retort {
namespace {

namespace fs = std::filesystem;

TEST(MeasureCapabilities, NamesTheSharedDirectoryAlikeAndNoneThatCannotBeMade) {
  const fs::path directory = fs::path(testing::TempDir()) / "retort_this_machine_test";
  fs::remove_all(directory);
  fs::create_directories(directory);
  fs::create_directory_symlink(directory / "weights", directory / "link");
  const std::string there = MeasureCapabilities(1, directory / "weights").shared_weights();
  EXPECT_EQ(there, (fs::canonical(directory) / "weights").string());
  EXPECT_EQ(MeasureCapabilities(1, directory / "link").shared_weights(), there);

  fs::create_directory_symlink("loop", directory / "loop");
  EXPECT_EQ(MeasureCapabilities(1, directory / "loop" / "weights").shared_weights(), "");
  EXPECT_EQ(MeasureCapabilities(1, directory / std::string(300, 'x')).shared_weights(), "");
  fs::remove_all(directory);
}

}  // namespace
}  // namespace retort
