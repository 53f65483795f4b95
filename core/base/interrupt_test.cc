#include "core/base/interrupt.h"

#include <signal.h>
#include <stdlib.h>

#include "gtest/gtest.h"

namespace retort {
namespace {

// Each body runs in a child process: handlers and the flag belong to a process.
void ExitWithFlagAfter(std::initializer_list<int> signals) {
  const std::atomic<bool>& interrupted = InstallInterruptHandler();
  if (interrupted) {
    exit(99);
  }
  for (int signal : signals) {
    raise(signal);
  }
  exit(interrupted ? 1 : 0);
}

TEST(Interrupt, FirstSigintSetsTheFlag) {
  EXPECT_EXIT(ExitWithFlagAfter({SIGINT}), testing::ExitedWithCode(1), "");
}

TEST(Interrupt, SigtermSetsTheFlagHoweverOftenItComes) {
  EXPECT_EXIT(ExitWithFlagAfter({SIGTERM, SIGTERM}), testing::ExitedWithCode(1), "");
}

TEST(Interrupt, SecondSigintEndsTheProcess) {
  EXPECT_EXIT(ExitWithFlagAfter({SIGINT, SIGINT}), testing::ExitedWithCode(130), "");
}

TEST(Interrupt, FlagIsClearBeforeAnySignal) {
  EXPECT_EXIT(ExitWithFlagAfter({}), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace retort
