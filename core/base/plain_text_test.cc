#include "core/base/plain_text.h"

#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(PlainText, LeavesNothingThatATerminalObeys) {
  EXPECT_EQ(PlainText("a\nb\t\u20ac \U0001f642"), "a\nb\t\u20ac \U0001f642");
  EXPECT_EQ(PlainText("\033[31mred\x07\r\x7f"), "?[31mred???");
  EXPECT_EQ(PlainText("\u009b2J\u00a0"), "?2J\u00a0") << "C1 has an escape of one character";
  EXPECT_EQ(PlainText(std::string("a\0b", 3)), "a?b");
}

TEST(PlainText, LeavesOnlyUtf8) {
  EXPECT_EQ(PlainText("a\xff\u20ac\xc3"), "a?\u20ac?");
  EXPECT_EQ(PlainText("\xed\xa0\x80"), "???") << "a surrogate";
  EXPECT_EQ(PlainText("\xc0\x80"), "??") << "an overlong form";
}

TEST(Shown, IsOneShortLine) {
  EXPECT_EQ(Shown("a\nb\033"), "a b?");
  EXPECT_EQ(Shown("0123456789", 10), "0123456789");
  EXPECT_EQ(Shown("0123456789a", 10), "0123456...");
  EXPECT_EQ(Shown("012345\u00e4\u00e4\u00e4", 10), "012345...");
  EXPECT_EQ(Shown("01234\u00e4\u00e4\u00e4", 10), "01234\u00e4...");
  EXPECT_EQ(Shown(std::string(1'000'000, 'a')).size(), 160u);
}

}  // namespace
}  // namespace retort
