#include "train/data/batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <string>
#include <utility>
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

v1::DataSpec Data(const std::vector<std::string>& train, int seq_len, uint64_t seed = 7) {
  v1::DataSpec data;
  data.mutable_train()->Add(train.begin(), train.end());
  data.set_seq_len(seq_len);
  data.set_seed(seed);
  return data;
}

Batches OpenCounting(int tokens, int seq_len, uint64_t seed = 7) {
  auto batches = Batches::Open(Data({"counting.bin"}, seq_len, seed),
                               {WriteDocuments("counting", {Counting(0, tokens)})}, 1000);
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
  const auto batches = Batches::Open(Data({"few.bin"}, 10), {WriteDocuments("few", {Counting(0, 9)})}, 1000);
  EXPECT_EQ(batches.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(batches.status().message(),
              AllOf(HasSubstr("few.bin has 9 tokens"), HasSubstr("sequence of 10")));
}

TEST(Batches, NamesATokenOutsideTheVocabularyWhenOpened) {
  const auto batches = Batches::Open(
      Data({"narrow.bin", "wide.bin"}, 10),
      {WriteDocuments("narrow", {Counting(0, 50)}), WriteDocuments("wide", {Counting(0, 100)})}, 50);
  EXPECT_EQ(batches.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(batches.status().message(), HasSubstr("wide.bin: token 50, in document 0, is 50, outside"));
}

// Files "a", "b", "c" with `tokens` tokens each, whose documents count from 0, 100'000 and 200'000 on.
std::vector<std::filesystem::path> CountingFiles(int tokens) {
  std::vector<std::filesystem::path> files;
  for (const auto& [name, first] : {std::pair("a", 0), std::pair("b", 100'000), std::pair("c", 200'000)}) {
    files.push_back(WriteDocuments(name, {Counting(first, tokens)}, 300'000));
  }
  return files;
}

Batches OpenMixed(const v1::DataSpec& data, const std::vector<std::filesystem::path>& files) {
  auto batches = Batches::Open(data, files, 300'000);
  EXPECT_TRUE(batches.ok()) << batches.status();
  return *std::move(batches);
}

// "a", "b" or "c" of each start.
std::string Letters(const std::vector<int32_t>& starts) {
  std::string letters;
  for (const int32_t start : starts) letters += static_cast<char>('a' + start / 100'000);
  return letters;
}

std::vector<int32_t> Of(char letter, const std::vector<int32_t>& starts) {
  std::vector<int32_t> chosen;
  for (const int32_t start : starts) {
    if (Letters({start})[0] == letter) chosen.push_back(start);
  }
  return chosen;
}

v1::DataSpec Weighted(const std::vector<std::string>& train, const std::vector<uint32_t>& weights) {
  v1::DataSpec data = Data(train, 10);
  data.mutable_train_weights()->Add(weights.begin(), weights.end());
  return data;
}

void AddPhase(v1::DataSpec& data, v1::Stage stage, uint64_t from_tokens,
              const std::vector<std::string>& train, const std::vector<uint32_t>& weights = {}) {
  v1::DataPhase& phase = *data.add_phases();
  phase.set_stage(stage);
  phase.set_from_tokens(from_tokens);
  phase.mutable_train()->Add(train.begin(), train.end());
  phase.mutable_train_weights()->Add(weights.begin(), weights.end());
}

TEST(MixedBatches, TakeTheirSharesInTurn) {
  const auto files = CountingFiles(1000);
  const Batches batches = OpenMixed(Weighted({"a", "b", "c"}, {4, 2, 2}), files);
  EXPECT_EQ(Letters(Starts(batches, 1, 0, 8)), "abacabac");
  EXPECT_EQ(Letters(Starts(batches, 3, 8, 4)), "abac");
}

TEST(MixedBatches, ShowEachWindowOfEachSourceOncePerItsEpoch) {
  const auto files = CountingFiles(109);  // 10 windows
  const Batches batches = OpenMixed(Weighted({"a", "b"}, {3, 1}), {files[0], files[1]});
  const std::vector<int32_t> starts = Starts(batches, 1, 0, 40);  // 3 epochs of a, 1 of b
  for (const char letter : {'a', 'b'}) {
    const std::vector<int32_t> own = Of(letter, starts);
    ASSERT_EQ(own.size(), letter == 'a' ? 30u : 10u);
    for (size_t epoch = 0; epoch < own.size() / 10; ++epoch) {
      std::vector<int32_t> windows(own.begin() + 10 * epoch, own.begin() + 10 * epoch + 10);
      std::sort(windows.begin(), windows.end());
      for (int i = 0; i < 10; ++i) EXPECT_EQ(windows[i], windows[0] + 10 * i) << letter << epoch;
    }
  }
  EXPECT_NE(std::vector(starts.begin(), starts.begin() + 10),
            std::vector(starts.begin() + 10, starts.begin() + 20));
}

TEST(MixedBatches, DoNotDependOnHowSequencesAreAskedFor) {
  const auto files = CountingFiles(300);
  v1::DataSpec data = Weighted({"a", "b"}, {5, 3});
  AddPhase(data, v1::STAGE_HIDDEN_STATE_ALIGNMENT, 200, {"b", "c"}, {1, 2});
  const std::vector<std::filesystem::path> all = {files[0], files[1], files[1], files[2]};
  const std::vector<int32_t> together = Starts(OpenMixed(data, all), 2, 0, 90);
  const Batches again = OpenMixed(data, all);
  for (int i = 89; i >= 0; --i) EXPECT_THAT(Starts(again, 2, i, 1), ElementsAre(together[i]));
}

TEST(MixedBatches, BeginWithWhatAListWithoutWeightsShows) {
  const auto files = CountingFiles(200);
  v1::DataSpec data = Data({"a"}, 16);
  AddPhase(data, v1::STAGE_END_TO_END, 64, {"b"});
  const Batches batches = OpenMixed(data, {files[0], files[1]});
  EXPECT_EQ(Letters(Starts(batches, 3, 0, 6)), "aaaabb");
  EXPECT_THAT(Starts(batches, 3, 0, 4), ElementsAre(97, 129, 49, 65));  // KeepsItsOrderForEver
  EXPECT_EQ(Letters(Starts(batches, 2, 0, 6)), "aaaaaa");
}

TEST(MixedBatches, BeginAPhaseAtTheFirstWholeSequence) {
  const auto files = CountingFiles(200);
  v1::DataSpec data = Data({"a"}, 10);
  AddPhase(data, v1::STAGE_END_TO_END, 21, {"b"});
  AddPhase(data, v1::STAGE_END_TO_END, 40, {"c"});
  AddPhase(data, v1::STAGE_MATRIX_ORIENTATION, 0, {"c"});
  const Batches batches = OpenMixed(data, {files[0], files[1], files[2], files[2]});
  EXPECT_EQ(Letters(Starts(batches, 3, 0, 6)), "aaabcc");
  EXPECT_EQ(Letters(Starts(batches, 1, 0, 3)), "ccc");
}

// Else the second phase would show again what the first has shown, and leave the rest out.
TEST(MixedBatches, GoOnInASourceWhereAnEarlierPhaseStopped) {
  const auto files = CountingFiles(109);
  v1::DataSpec data = Weighted({"a", "b"}, {1, 1});
  AddPhase(data, v1::STAGE_END_TO_END, 80, {"b", "c"}, {1, 1});
  AddPhase(data, v1::STAGE_END_TO_END, 120, {"b"}, {1});
  const Batches batches = OpenMixed(data, {files[0], files[1], files[1], files[2], files[1]});
  std::vector<int32_t> own = Of('b', Starts(batches, 3, 0, 16));  // 4 of 8, 2 of 4, 4
  ASSERT_EQ(own.size(), 10u);
  std::sort(own.begin(), own.end());
  EXPECT_EQ(std::set<int32_t>(own.begin(), own.end()).size(), 10u);
  EXPECT_EQ(own.back() - own.front(), 90);
}

// A changed number here changes what jobs with mixtures train on.
TEST(MixedBatches, KeepTheirOrderForEver) {
  const auto files = CountingFiles(200);
  const Batches batches = OpenMixed(Weighted({"a", "b"}, {1, 2}), {files[0], files[1]});
  EXPECT_THAT(Starts(batches, 3, 0, 6), ElementsAre(100160, 77, 100000, 100080, 47, 100090));
}

TEST(MixedBatches, NameTheSourceThatIsTooShort) {
  const auto batches = Batches::Open(
      Weighted({"long", "few"}, {1, 1}),
      {WriteDocuments("long", {Counting(0, 90)}), WriteDocuments("few", {Counting(0, 9)})}, 1000);
  EXPECT_THAT(batches.status().message(), HasSubstr("few.bin has 9 tokens, less than one sequence of 10"));
}

}  // namespace
}  // namespace retort
