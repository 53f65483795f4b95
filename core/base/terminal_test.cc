#include "core/base/terminal.h"

#include <fcntl.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(Terminal, ColoursOnlyATerminal) {
  EXPECT_TRUE(WantsColour(true, nullptr, "xterm"));
  EXPECT_FALSE(WantsColour(false, nullptr, "xterm"));
}

TEST(Terminal, ObeysNoColorUnlessItIsEmpty) {
  EXPECT_FALSE(WantsColour(true, "1", "xterm"));
  EXPECT_TRUE(WantsColour(true, "", "xterm"));
}

TEST(Terminal, TreatsADumbOrNamelessTerminalAsPlain) {
  EXPECT_FALSE(WantsColour(true, nullptr, "dumb"));
  EXPECT_FALSE(WantsColour(true, nullptr, nullptr));
}

TEST(Terminal, SeesThatAFileIsNone) {
  const int fd = open("/dev/null", O_WRONLY);
  EXPECT_FALSE(IsTerminal(fd));
  EXPECT_FALSE(CanRedraw(fd));
  EXPECT_EQ(TerminalWidth(fd), 80);
  close(fd);
}

TEST(Table, AlignsColumnsWithoutTrailingBlanks) {
  Table table({{"NAME"}, {"STEPS", Align::kRight}, {"NOTE"}});
  table.AddRow({"end_to_end", "7", "x"});
  table.AddRow({"a", "12345", ""});
  EXPECT_EQ(table.Render(),
            "NAME         STEPS   NOTE\n"
            "end_to_end       7   x\n"
            "a            12345   -\n");
}

TEST(Table, PrintsItsHeaderWithoutRows) {
  EXPECT_EQ(Table({{"NAME"}, {"STEPS"}}).Render(), "NAME   STEPS\n");
}

}  // namespace
}  // namespace retort
