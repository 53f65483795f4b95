#include "train/data/batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <vector>

#include "train/data/testing_dataset.h"
#include "train/data/token_stream.h"

namespace retort {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Document `first`, first + 1, ...: in the stream, token i then says where it stands.
std::vector<int32_t> Counting(int first, int size) {
  std::vector<int32_t> document(size);
  std::iota(document.begin(), document.end(), first);
  return document;
}

Batches OpenCounting(int tokens, int seq_len, uint64_t seed = 7) {
  auto batches = Batches::Open({WriteDocuments("counting", {Counting(0, tokens)})}, seq_len, seed, 1000);
  EXPECT_TRUE(batches.ok()) << batches.status();
  return *std::move(batches);
}

// Where sequences first, first + 1, ... begin in OpenCounting's stream; checks that each is a window.
std::vector<int32_t> Starts(const Batches& batches, int stage, uint64_t first, int count) {
  const std::vector<int32_t> ids = *batches.Sequences(stage, first, count);
  EXPECT_EQ(ids.size(), static_cast<size_t>(count) * batches.seq_len());
  std::vector<int32_t> starts;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i % batches.seq_len() == 0) starts.push_back(ids[i]);
    EXPECT_EQ(ids[i], starts.back() + static_cast<int>(i) % batches.seq_len());
  }
  return starts;
}

TEST(TokenStream, ReadsAcrossFiles) {
  const auto stream = TokenStream::Open(
      {WriteDocuments("a", {{1, 2}, {3}}), WriteDocuments("none", {}), WriteDocuments("b", {{4, 5}})}, 10);
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ(stream->num_tokens(), 5);
  std::vector<int32_t> ids(4);
  ASSERT_TRUE(stream->Read(1, 4, ids.data()).ok());
  EXPECT_THAT(ids, ElementsAre(2, 3, 4, 5));
}

TEST(TokenStream, RefusesToReadBeyondItsEnd) {
  const auto stream = TokenStream::Open({WriteDocuments("a", {{1, 2}})}, 10);
  std::vector<int32_t> ids(4);
  EXPECT_EQ(stream->Read(1, 2, ids.data()).code(), absl::StatusCode::kOutOfRange);
}

TEST(TokenStream, NeedsAFile) {
  EXPECT_EQ(TokenStream::Open({}, 10).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Batches, ShowsEachWindowOncePerEpoch) {
  const Batches batches = OpenCounting(109, 10);
  ASSERT_EQ(batches.sequences_per_epoch(), 10);
  for (uint64_t epoch = 0; epoch < 5; ++epoch) {
    std::vector<int32_t> starts = Starts(batches, 1, epoch * 10, 10);
    std::sort(starts.begin(), starts.end());
    for (int i = 0; i < 10; ++i) EXPECT_EQ(starts[i], starts[0] + 10 * i);
    EXPECT_LT(starts[0], 10);
  }
}

TEST(Batches, ShiftsAndReordersEveryEpoch) {
  const Batches batches = OpenCounting(400, 16);
  std::set<int32_t> shifts;
  std::set<std::vector<int32_t>> orders;
  const int windows = static_cast<int>(batches.sequences_per_epoch());
  for (int epoch = 0; epoch < 64; ++epoch) {
    std::vector<int32_t> starts = Starts(batches, 1, static_cast<uint64_t>(epoch) * windows, windows);
    shifts.insert(starts[0] % 16);
    for (int32_t& start : starts) start /= 16;
    orders.insert(starts);
  }
  EXPECT_GT(shifts.size(), 12);
  EXPECT_EQ(orders.size(), 64);
}

TEST(Batches, DoesNotDependOnHowSequencesAreAskedFor) {
  const Batches batches = OpenCounting(300, 7);
  const std::vector<int32_t> together = Starts(batches, 2, 30, 50);
  for (int i = 49; i >= 0; --i) EXPECT_THAT(Starts(batches, 2, 30 + i, 1), ElementsAre(together[i]));
}

TEST(Batches, DependsOnSeedAndStage) {
  const std::vector<int32_t> starts = Starts(OpenCounting(500, 8), 1, 0, 40);
  EXPECT_EQ(Starts(OpenCounting(500, 8), 1, 0, 40), starts);
  EXPECT_NE(Starts(OpenCounting(500, 8), 2, 0, 40), starts);
  EXPECT_NE(Starts(OpenCounting(500, 8, 8), 1, 0, 40), starts);
}

// A changed number here changes what every job trains on.
TEST(Batches, KeepsItsOrderForEver) {
  EXPECT_THAT(Starts(OpenCounting(200, 16, 7), 3, 0, 6), ElementsAre(97, 129, 49, 65, 17, 33));
}

TEST(Batches, ReachesFarSequences) {
  EXPECT_EQ(Starts(OpenCounting(200, 16), 3, UINT64_MAX - 1, 1).size(), 1);
}

TEST(Batches, TakesDataOfOneSequence) {
  const Batches batches = OpenCounting(10, 10);
  EXPECT_EQ(batches.sequences_per_epoch(), 1);
  EXPECT_THAT(Starts(batches, 1, 0, 3), ElementsAre(0, 0, 0));
}

TEST(Batches, KeepsEveryShiftInsideLittleData) {
  const Batches batches = OpenCounting(15, 10);
  const std::vector<int32_t> starts = Starts(batches, 1, 0, 200);
  EXPECT_EQ(std::set<int32_t>(starts.begin(), starts.end()), (std::set<int32_t>{0, 1, 2, 3, 4, 5}));
}

TEST(Batches, RefusesLessThanOneSequence) {
  const auto batches = Batches::Open({WriteDocuments("few", {Counting(0, 9)})}, 10, 7, 1000);
  EXPECT_EQ(batches.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(batches.status().message(),
              AllOf(HasSubstr("few.bin has 9 tokens"), HasSubstr("sequence of 10")));
}

TEST(Batches, NamesATokenOutsideTheVocabularyWhenOpened) {
  const auto batches = Batches::Open(
      {WriteDocuments("narrow", {Counting(0, 50)}), WriteDocuments("wide", {Counting(0, 100)})}, 10, 7, 50);
  EXPECT_EQ(batches.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(batches.status().message(), HasSubstr("wide.bin: token 50, in document 0, is 50, outside"));
}

}  // namespace
}  // namespace retort
