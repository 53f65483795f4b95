#include "tests/support/child_process.h"

#include <signal.h>

#include "gtest/gtest.h"

namespace retort {
namespace {

constexpr double kSeconds = 60;

TEST(ChildProcess, GivesExitCodeAndBothOutputs) {
  const ProgramEnd end = RunProgram({"/bin/sh", "-c", "echo to out; echo to err >&2; exit 12"}, kSeconds);
  EXPECT_EQ(end.exit_code, 12);
  EXPECT_EQ(end.signal, 0);
  EXPECT_EQ(end.out, "to out\n");
  EXPECT_EQ(end.err, "to err\n");
}

TEST(ChildProcess, TellsASignalFromAnExit) {
  ChildProcess child({"/bin/cat", "/dev/zero"});
  EXPECT_TRUE(child.running());
  child.Signal(SIGTERM);
  const ProgramEnd end = child.Wait(kSeconds);
  EXPECT_EQ(end.exit_code, -1);
  EXPECT_EQ(end.signal, SIGTERM);
}

TEST(ChildProcess, KillsWhatDoesNotEndInTime) {
  ChildProcess child({"/bin/sh", "-c", "trap '' TERM; read never < /dev/zero"});
  EXPECT_EQ(child.Wait(0.05).signal, SIGKILL);
}

TEST(ChildProcess, EndsWithCode127WhenThereIsNoSuchProgram) {
  EXPECT_EQ(RunProgram({"/no/such/program"}, kSeconds).exit_code, 127);
}

TEST(Eventually, ReturnsOnceTheConditionHolds) {
  int asked = 0;
  EXPECT_TRUE(Eventually(kSeconds, [&] { return ++asked == 3; }));
  EXPECT_EQ(asked, 3);
}

TEST(Eventually, GivesUpAtItsDeadline) {
  EXPECT_FALSE(Eventually(0.01, [] { return false; }));
}

}  // namespace
}  // namespace retort
