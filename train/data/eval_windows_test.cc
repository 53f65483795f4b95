#include "train/data/eval_windows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "train/data/testing_dataset.h"

namespace retort {
namespace {

using ::testing::HasSubstr;
using Windows = std::vector<std::vector<int32_t>>;

Windows Cut(const Windows& documents, int max_window, uint64_t max_tokens = 0) {
  const auto windows = EvalWindows(WriteDocuments("eval", documents),
                                   {.max_window = max_window, .max_tokens = max_tokens, .vocab_size = 1000});
  EXPECT_TRUE(windows.ok()) << windows.status();
  return *windows;
}

TEST(EvalWindows, CutsEachDocumentOnItsOwn) {
  EXPECT_EQ(Cut({{1, 2, 3, 4, 5}, {6, 7}, {8, 9, 10, 11}}, 3),
            (Windows{{1, 2, 3}, {4, 5}, {6, 7}, {8, 9, 10}}));
}

TEST(EvalWindows, LeavesOutWhatPredictsNothing) {
  EXPECT_EQ(Cut({{1}, {}, {2, 3, 4}, {5}}, 2), (Windows{{2, 3}}));
}

TEST(EvalWindows, StopsAtTheTokenLimit) {
  EXPECT_EQ(Cut({{1, 2, 3}, {4, 5, 6}}, 3, 5), (Windows{{1, 2, 3}, {4, 5}}));
  EXPECT_EQ(Cut({{1, 2, 3}, {4, 5, 6}}, 3, 4), (Windows{{1, 2, 3}}));
  EXPECT_EQ(Cut({{1, 2, 3}, {4, 5, 6}}, 3, 3), (Windows{{1, 2, 3}}));
}

TEST(EvalWindows, SpreadsALimitOverTheWholeFile) {
  const Windows documents = {{1, 2}, {3, 4}, {5, 6}, {7, 8}, {9, 10, 11, 12}};
  EXPECT_EQ(Cut(documents, 2, 6), (Windows{{1, 2}, {5, 6}, {9, 10}}));
  EXPECT_EQ(Cut(documents, 2, 100), Cut(documents, 2));
}

TEST(EvalWindows, RefusesDataWithoutAWindow) {
  const auto windows = EvalWindows(WriteDocuments("lone", {{1}, {2}}), {.max_window = 4, .vocab_size = 10});
  EXPECT_EQ(windows.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(windows.status().message(), HasSubstr("lone.bin: 2 documents and 2 tokens"));
}

TEST(EvalWindows, NamesATokenOutsideTheVocabularyEvenWhereNoWindowIsTaken) {
  const auto windows = EvalWindows(WriteDocuments("wide", {{1, 2}, {3, 30}}),
                                   {.max_window = 4, .max_tokens = 2, .vocab_size = 30});
  EXPECT_EQ(windows.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(windows.status().message(), HasSubstr("wide.bin: token 3, in document 1, is 30"));
}

}  // namespace
}  // namespace retort
