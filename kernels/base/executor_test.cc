#include "kernels/base/executor.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/base/testing_threads.h"

namespace retort {
namespace {

TEST(SerialExecutor, RunsItemsInOrder) {
  std::vector<int64_t> seen;
  SerialExecutor().Run(3, [&](int64_t item) { seen.push_back(item); });
  EXPECT_THAT(seen, testing::ElementsAre(0, 1, 2));
}

TEST(SerialExecutor, RunsNothingForNoItems) {
  SerialExecutor().Run(0, [](int64_t) { ADD_FAILURE() << "called"; });
}

TEST(TestingThreads, RunsEachItemOnce) {
  std::vector<int> seen(100);
  TestingThreads(2).Run(100, [&](int64_t item) { ++seen[item]; });
  EXPECT_THAT(seen, testing::Each(1));
}

}  // namespace
}  // namespace retort
