#include "core/base/log.h"

#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

using testing::ElementsAre;

v1::LogLine Line(const std::string& text) {
  v1::LogLine line;
  line.set_text(text);
  return line;
}

std::vector<std::string> Texts(const LogBuffer::Batch& batch) {
  std::vector<std::string> texts;
  for (const v1::LogLine& line : batch.lines) texts.push_back(line.text());
  return texts;
}

TEST(Log, SaysWhenWhatAndOfWhichStep) {
  std::ostringstream out;
  Log log(v1::LOG_LEVEL_INFO, [] { return int64_t{1'772'600'767'890}; }, {StreamSink(out)});
  log.Warning("two\nlines", {3, v1::STAGE_END_TO_END, 41, 250});
  log.Debug("not shown");
  log.Info("plain");
  EXPECT_EQ(out.str(),
            "2026-03-04T05:06:07.890Z WARNING two lines run=3 stage=end_to_end token=41 step=250\n"
            "2026-03-04T05:06:07.890Z INFO plain\n");
}

TEST(LogText, CutsBetweenCharacters) {
  EXPECT_EQ(LogText("0123456789", 10), "0123456789");
  EXPECT_EQ(LogText("0123456789a", 10), "0123456...");
  EXPECT_EQ(LogText("012345\u00e4\u00e4\u00e4", 10), "012345...");
  EXPECT_EQ(LogText("01234\u00e4\u00e4\u00e4", 10), "01234\u00e4...");
}

TEST(LogText, IsOnePlainLine) { EXPECT_EQ(LogText("a\xff\n\033[0m"), "a? ?[0m"); }

TEST(LogBuffer, KeepsLinesUntilTheyHaveArrived) {
  LogBuffer buffer;
  buffer.Add(Line("a"));
  buffer.Add(Line("b"));
  EXPECT_THAT(Texts(buffer.Oldest()), ElementsAre("a", "b"));
  buffer.Forget(1);
  EXPECT_EQ(buffer.Oldest().first_line, 1u);
  EXPECT_THAT(Texts(buffer.Oldest()), ElementsAre("b"));
  buffer.Forget(1);
  buffer.Forget(2);
  EXPECT_THAT(Texts(buffer.Oldest()), ElementsAre());
}

TEST(LogBuffer, DropsTheOldestAndCountsThem) {
  LogBuffer buffer(2);
  for (const char* text : {"a", "b", "c", "d", "e"}) buffer.Add(Line(text));
  EXPECT_EQ(buffer.Oldest().first_line, 3u);
  EXPECT_THAT(Texts(buffer.Oldest()), ElementsAre("d", "e"));
}

TEST(LogBuffer, GivesNoMoreThanOneCallTakes) {
  LogBuffer buffer;
  for (int i = 0; i < 1001; ++i) buffer.Add(Line("short"));
  EXPECT_EQ(buffer.Oldest().lines.size(), 1000u);
  LogBuffer large;
  for (int i = 0; i < 300; ++i) large.Add(Line(std::string(4096, 'x')));
  EXPECT_EQ(large.Oldest().lines.size(), 255u);  // 4,099 bytes each
}

}  // namespace
}  // namespace retort
