#include "cli/show/words.h"

#include "gmock/gmock.h"

namespace retort {
namespace {

TEST(Word, LeavesOutTheTypesPrefix) {
  EXPECT_EQ(Word(v1::STAGE_MATRIX_ORIENTATION), "matrix_orientation");
  EXPECT_EQ(Word(v1::RUN_STATE_PAUSING), "pausing");
  EXPECT_EQ(Word(v1::RUN_STATE_UNSPECIFIED), "");
  EXPECT_EQ(Word(static_cast<v1::Stage>(77)), "77");
}

TEST(FromWord, FindsTheValueAgain) {
  EXPECT_EQ(FromWord<v1::LogLevel>("warning"), v1::LOG_LEVEL_WARNING);
  EXPECT_EQ(FromWord<v1::LogLevel>("warn"), std::nullopt);
  EXPECT_EQ(FromWord<v1::LogLevel>(""), std::nullopt);
}

TEST(EnumWords, LeavesOutUnspecified) {
  EXPECT_THAT(EnumWords(*v1::LogLevel_descriptor()),
              testing::ElementsAre("debug", "info", "warning", "error"));
}

TEST(FormatUtc, IsIso8601) {
  EXPECT_EQ(FormatUtc(1'764'110'205'123), "2025-11-25T22:36:45Z");
  EXPECT_EQ(FormatUtcTime(1'764'110'205'123), "22:36:45");
  EXPECT_EQ(FormatUtcMillis(1'764'110'205'123), "2025-11-25T22:36:45.123Z");
}

TEST(FormatBytes, TakesTheUnitThatFits) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.0 KiB");
  EXPECT_EQ(FormatBytes(9.94 * 1024), "9.9 KiB");
  EXPECT_EQ(FormatBytes(9.96 * 1024), "10 KiB");
  EXPECT_EQ(FormatBytes(1023.6 * 1024 * 1024), "1.0 GiB");
  EXPECT_EQ(FormatBytes(5e15), "4547 TiB");
}

TEST(FormatPreciseDuration, ShowsShortTimesToo) {
  EXPECT_EQ(FormatPreciseDuration(0), "0.0ms");
  EXPECT_EQ(FormatPreciseDuration(0.00042), "0.4ms");
  EXPECT_EQ(FormatPreciseDuration(0.25), "250ms");
  EXPECT_EQ(FormatPreciseDuration(0.9996), "1.0s");
  EXPECT_EQ(FormatPreciseDuration(9.94), "9.9s");
  EXPECT_EQ(FormatPreciseDuration(9.96), "10s");
  EXPECT_EQ(FormatPreciseDuration(100), "1m40s");
}

TEST(FormatRanges, JoinsNeighbours) {
  EXPECT_EQ(FormatRanges(std::vector<int>{}), "");
  EXPECT_EQ(FormatRanges(std::vector<int>{4}), "4");
  EXPECT_EQ(FormatRanges(std::vector<int>{0, 1, 2, 5, 7, 8}), "0-2,5,7-8");
}

TEST(FormatAge, IsEmptyBeforeTheEvent) {
  EXPECT_EQ(FormatAge(0, 5000), "");
  EXPECT_EQ(FormatAge(1000, 193'000), "3m12s");
}

}  // namespace
}  // namespace retort
