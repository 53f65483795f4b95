#include "core/base/crash_point.h"

#include <cstdlib>

#include "gtest/gtest.h"

namespace retort {
namespace {

// In a child process each: the variable is read once.
void PassThree(const char* armed) {
  setenv("RETORT_CRASH_AT", armed, 1);
  for (int i = 0; i < 3; ++i) {
    CrashPoint("test.other");
    CrashPoint("test.here");
    if (i == 1) std::fputs("passed two\n", stderr);
  }
  std::exit(0);
}

class CrashPointDeathTest : public testing::Test {
 protected:
  CrashPointDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(CrashPointDeathTest, EndsTheProcessAtTheFirstPassage) {
  EXPECT_EXIT(PassThree("test.here"), testing::ExitedWithCode(137), "^$");
}

TEST_F(CrashPointDeathTest, EndsTheProcessAtThePassageThatIsCounted) {
  EXPECT_EXIT(PassThree("test.here:3"), testing::ExitedWithCode(137), "passed two");
}

TEST_F(CrashPointDeathTest, DoesNothingAtOtherNames) {
  EXPECT_EXIT(PassThree("test.elsewhere"), testing::ExitedWithCode(0), "passed two");
  EXPECT_EXIT(PassThree(""), testing::ExitedWithCode(0), "passed two");
}

}  // namespace
}  // namespace retort
