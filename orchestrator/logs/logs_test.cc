#include <signal.h>
#include <sys/resource.h>

#include <fstream>

#include "core/base/files.h"
#include "core/store/store_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orchestrator/logs/log_reader.h"
#include "orchestrator/logs/log_store.h"

namespace retort::orchestrator {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

class LogsTest : public testing::Test {
 protected:
  LogsTest() { Reopen(); }

  void Reopen(const LogBounds& bounds = {}) {
    store_.reset();
    auto opened = LogStore::Open(directory_.path(), bounds);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }

  absl::Status Ship(uint64_t worker_id, uint64_t first_line, const std::vector<std::string>& texts,
                    const LogContext& context = {}) {
    v1::ShipLogsRequest request;
    request.set_worker_id(worker_id);
    request.set_first_line(first_line);
    for (const std::string& text : texts) {
      v1::LogLine& line = *request.add_lines();
      line.set_text(text);
      line.set_level(v1::LOG_LEVEL_INFO);
      line.set_run_id(context.run_id);
      line.set_token(context.token);
    }
    return store_->Append(absl::StrCat("w", worker_id), request);
  }

  struct Lines {
    std::vector<std::string> texts;
    uint64_t dropped_lines = 0;
  };
  static Lines All(LogReader& reader) {
    Lines lines;
    while (true) {
      const v1::LogsReply reply = reader.Next().value();
      EXPECT_LE(reply.lines_size(), 1000);
      for (const v1::LogLine& line : reply.lines()) lines.texts.push_back(line.text());
      lines.dropped_lines += reply.dropped_lines();
      if (reply.lines().empty()) return lines;
    }
  }
  Lines Kept(const v1::LogsRequest& request = {}, std::optional<uint64_t> run_id = std::nullopt) const {
    LogReader reader(*store_, request, run_id);
    return All(reader);
  }
  std::vector<std::filesystem::path> Files() const {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path()))
      files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
  }

  TemporaryDirectory directory_;
  std::unique_ptr<LogStore> store_;
};

TEST_F(LogsTest, KeepsLinesInTheOrderOfArrivalOverARestart) {
  ASSERT_EQ(Ship(1, 0, {"a", "b"}), absl::OkStatus());
  v1::LogLine own;
  own.set_level(v1::LOG_LEVEL_WARNING);
  own.set_text("own");
  store_->AppendOwn(own);
  Reopen();
  ASSERT_EQ(Ship(2, 0, {"c"}), absl::OkStatus());
  EXPECT_THAT(Kept().texts, ElementsAre("a", "b", "own", "c"));
}

TEST_F(LogsTest, PassesOverLinesThatHaveArrivedAlsoAfterARestart) {
  ASSERT_EQ(Ship(1, 0, {"a", "b"}), absl::OkStatus());
  ASSERT_EQ(Ship(1, 1, {"b", "c"}), absl::OkStatus());
  Reopen();
  ASSERT_EQ(Ship(1, 0, {"a", "b", "c", "d"}), absl::OkStatus());
  EXPECT_THAT(Kept().texts, ElementsAre("a", "b", "c", "d"));
}

TEST_F(LogsTest, CountsWhatAWorkersBufferDropped) {
  ASSERT_EQ(Ship(1, 0, {"a"}), absl::OkStatus());
  ASSERT_EQ(Ship(1, 8, {"i"}), absl::OkStatus());
  EXPECT_EQ(Kept().dropped_lines, 7u);
}

TEST_F(LogsTest, Filters) {
  ASSERT_EQ(Ship(1, 0, {"run 1"}, {.run_id = 1, .token = 5}), absl::OkStatus());
  ASSERT_EQ(Ship(2, 0, {"run 2"}, {.run_id = 2, .token = 6}), absl::OkStatus());
  v1::LogLine debug;
  debug.set_level(v1::LOG_LEVEL_DEBUG);
  debug.set_text("debug");
  debug.set_time_unix_ms(1000);
  store_->AppendOwn(debug);
  EXPECT_THAT(Kept({}, 2).texts, ElementsAre("run 2"));
  EXPECT_THAT(Kept().texts, ElementsAre("run 1", "run 2"));
  v1::LogsRequest request;
  request.set_worker_name("w1");
  EXPECT_THAT(Kept(request).texts, ElementsAre("run 1"));
  request = {};
  request.set_token(6);
  EXPECT_THAT(Kept(request).texts, ElementsAre("run 2"));
  request = {};
  request.set_min_level(v1::LOG_LEVEL_DEBUG);
  request.set_tail_lines(2);
  EXPECT_THAT(Kept(request).texts, ElementsAre("run 2", "debug"));
  request.set_since_unix_ms(1000);
  EXPECT_THAT(Kept(request).texts, ElementsAre("debug"));
}

TEST_F(LogsTest, AReaderFollows) {
  ASSERT_EQ(Ship(1, 0, {"a"}), absl::OkStatus());
  LogReader reader(*store_, {}, std::nullopt);
  EXPECT_THAT(All(reader).texts, ElementsAre("a"));
  EXPECT_THAT(All(reader).texts, IsEmpty());
  ASSERT_EQ(Ship(1, 1, std::vector<std::string>(2500, "b")), absl::OkStatus());
  EXPECT_THAT(All(reader).texts, SizeIs(2500));
}

TEST_F(LogsTest, ALaterReaderGoesOnBehindTheLastReply) {
  Reopen({.lines = 1000, .bytes = 1 << 20, .file_bytes = 100});  // some lines a file
  for (uint64_t i = 0; i < 10; ++i)
    ASSERT_EQ(Ship(1, i, {absl::StrCat(i)}, {.run_id = 1 + i / 5}), absl::OkStatus());
  v1::LogsRequest request;
  LogReader of_run_1(*store_, {}, 1);
  v1::LogsReply reply = of_run_1.Next().value();
  while (!reply.lines().empty()) reply = of_run_1.Next().value();
  request.set_after_sequence(reply.last_sequence());
  EXPECT_THAT(Kept(request).texts, IsEmpty()) << "it looked at the other run's lines too";
  for (uint64_t seen = 1; seen < 10; ++seen) {
    request.set_after_sequence(seen);
    Reopen();
    const Lines lines = Kept(request);
    EXPECT_THAT(lines.texts, SizeIs(10 - seen));
    EXPECT_EQ(lines.texts.front(), absl::StrCat(seen));
    EXPECT_EQ(lines.dropped_lines, 0u);
  }
  request.set_after_sequence(5);
  request.set_tail_lines(2);
  EXPECT_THAT(Kept(request).texts, ElementsAre("8", "9"));
}

TEST_F(LogsTest, ALaterReaderIsToldWhatItCannotHave) {
  v1::LogsRequest request;
  request.set_after_sequence(1);
  EXPECT_TRUE(absl::IsOutOfRange(LogReader(*store_, request, std::nullopt).Next().status()));
  Reopen({.lines = 1, .bytes = 1 << 20, .file_bytes = 1});  // a line a file, one kept
  for (uint64_t i = 0; i < 5; ++i) ASSERT_EQ(Ship(1, i, {absl::StrCat(i)}), absl::OkStatus());
  const Lines lines = Kept(request);
  EXPECT_THAT(lines.texts, ElementsAre("4"));
  EXPECT_EQ(lines.dropped_lines, 3u);
  request.set_after_sequence(6);
  EXPECT_TRUE(absl::IsOutOfRange(LogReader(*store_, request, std::nullopt).Next().status()));
}

TEST_F(LogsTest, DropsTheOldestFilesAndTellsAReaderThatWasOvertaken) {
  Reopen({.lines = 100, .bytes = 1 << 20, .file_bytes = 1000});
  ASSERT_EQ(Ship(1, 0, {"0"}), absl::OkStatus());
  LogReader reader(*store_, {}, std::nullopt);
  EXPECT_THAT(All(reader).texts, ElementsAre("0"));
  for (uint64_t i = 1; i < 1000; ++i) ASSERT_EQ(Ship(1, i, {absl::StrCat(i)}), absl::OkStatus());
  const Lines lines = All(reader);
  EXPECT_EQ(lines.texts.back(), "999");
  EXPECT_GE(lines.texts.size(), 100u);
  EXPECT_LE(lines.texts.size(), 130u) << "100 and less than a file more";
  EXPECT_EQ(lines.dropped_lines + lines.texts.size(), 999u);
  Reopen({.lines = 100, .bytes = 1 << 20, .file_bytes = 1000});
  EXPECT_EQ(Kept().texts, lines.texts);
}

TEST_F(LogsTest, ForgetsARunUnderAReader) {
  const std::string padding(1000, '.');  // 200 lines take a reader several batches
  for (uint64_t i = 0; i < 200; ++i) {
    const uint64_t run_id = 1 + i % 2;
    ASSERT_EQ(Ship(1, i, {absl::StrCat("of run ", run_id, padding)}, {.run_id = run_id}), absl::OkStatus());
  }
  LogStore::Place place;
  uint64_t sequence = store_->Read(place)->records.size();
  ASSERT_GT(sequence, 1u);
  ASSERT_LT(sequence, 200u);
  ASSERT_EQ(store_->ForgetRun(2), absl::OkStatus());
  for (auto batch = store_->Read(place); !batch->records.empty(); batch = store_->Read(place)) {
    for (const v1::LogRecord& record : batch->records) EXPECT_EQ(record.sequence(), ++sequence);
  }
  EXPECT_EQ(sequence, 200u) << "it goes on where it stood";
  EXPECT_THAT(Kept().texts, AllOf(SizeIs(100), Each("of run 1" + padding)));
  for (const auto& file : Files()) EXPECT_THAT(*ReadFile(file), Not(HasSubstr("of run 2")));
  Reopen();
  ASSERT_EQ(Ship(1, 199, {"arrived before", "new"}), absl::OkStatus());
  EXPECT_EQ(Kept().texts.size(), 101u) << "the worker's numbers are still known";
}

TEST_F(LogsTest, ATornTailIsPassedOver) {
  ASSERT_EQ(Ship(1, 0, {"a", "torn"}), absl::OkStatus());
  std::filesystem::resize_file(Files().back(), std::filesystem::file_size(Files().back()) - 1);
  Reopen();
  EXPECT_THAT(Kept().texts, ElementsAre("a"));
  ASSERT_EQ(Ship(1, 1, {"torn", "b"}), absl::OkStatus()) << "it counts as not arrived";
  Reopen();
  EXPECT_THAT(Kept().texts, ElementsAre("a", "torn", "b"));
}

// A limit on the size of files, which as a full disk lets a part of a write through and refuses the rest.
TEST_F(LogsTest, AFailedWriteLeavesNoneOfItsLines) {
  ASSERT_EQ(Ship(1, 0, {"a"}), absl::OkStatus());
  const auto line_bytes = std::filesystem::file_size(Files().back());
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit full = before;
  full.rlim_cur = 3 * line_bytes;
  signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  const absl::Status refused = Ship(1, 1, {"b", "c", "d"});
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_FALSE(refused.ok());
  ASSERT_EQ(Ship(2, 0, {"of another worker"}), absl::OkStatus());
  Reopen();
  EXPECT_THAT(Kept().texts, ElementsAre("a", "of another worker"));
  ASSERT_EQ(Ship(1, 1, {"b", "c", "d"}), absl::OkStatus());
  EXPECT_THAT(Kept().texts, ElementsAre("a", "of another worker", "b", "c", "d"));
}

TEST_F(LogsTest, KnowsWhoseLinesWereThere) {
  ASSERT_EQ(Ship(1, 0, {"a", "b"}, {.run_id = 7}), absl::OkStatus());
  ASSERT_EQ(Ship(2, 0, {"c"}, {.run_id = 5}), absl::OkStatus());
  ASSERT_EQ(Ship(2, 1, {"of none"}), absl::OkStatus());
  Reopen();
  EXPECT_THAT(store_->loaded_runs(), ElementsAre(5, 7));
}

TEST_F(LogsTest, ADamagedFileKeepsWhatStandsBeforeTheDamage) {
  ASSERT_EQ(Ship(1, 0, {"a", "b", "c"}), absl::OkStatus());
  const auto size = std::filesystem::file_size(Files().back());
  std::fstream(Files().back(), std::ios::in | std::ios::out).seekp(static_cast<int64_t>(size / 2)) << "?";
  Reopen();
  ASSERT_EQ(Ship(1, 3, {"d"}), absl::OkStatus());
  EXPECT_THAT(Kept().texts, ElementsAre("a", "d"));
  EXPECT_EQ(Kept().dropped_lines, 2u);
}

}  // namespace
}  // namespace retort::orchestrator
