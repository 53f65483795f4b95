#include "cli/embedded/child.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/check.h"
#include "core/base/files.h"
#include "core/base/interrupt.h"
#include "gtest/gtest.h"
#include "tests/support/child_process.h"

namespace retort {
namespace {

namespace fs = std::filesystem;

class Children : public testing::Test {
 protected:
  Children() {
    std::string name = (fs::temp_directory_path() / "retort_children_XXXXXX").string();
    RETORT_CHECK(mkdtemp(name.data()) != nullptr) << name;
    directory_ = name;
  }
  ~Children() override { fs::remove_all(directory_); }

  fs::path log() const { return directory_ / "log"; }
  Child Shell(const std::string& script) { return Child::Start({"/bin/sh", "-c", script}, log()).value(); }
  static ChildEnd Wait(Child& child) {
    std::optional<ChildEnd> end;
    EXPECT_TRUE(Eventually(20, [&] { return (end = child.Ended()).has_value(); }));
    return end.value_or(ChildEnd());
  }

  fs::path directory_;
};

TEST_F(Children, AppendTheirWordsToTheLog) {
  Child first = Shell("echo one; echo two >&2");
  EXPECT_EQ(Wait(first).exit_code, 0);
  Child second = Shell("cat; echo three; exit 7");
  EXPECT_EQ(Wait(second).exit_code, 7);
  EXPECT_EQ(ReadFile(log()).value(), "one\ntwo\nthree\n");
}

TEST_F(Children, TellTheSignalThatEndedThem) {
  Child child = Shell("exec sleep 100");
  EXPECT_FALSE(child.Ended().has_value());
  child.Signal(SIGTERM);
  EXPECT_EQ(Wait(child).signal, SIGTERM);
}

// A handler of this process must not take what is meant for a child that has not yet become its program.
TEST_F(Children, TakeASignalFromTheirFirstMomentOn) {
  InstallInterruptHandler();
  for (int i = 0; i < 50; ++i) {
    Child child = Shell("exec sleep 100");
    child.Signal(SIGTERM);
    ASSERT_EQ(Wait(child).signal, SIGTERM) << "child " << i;
  }
}

TEST_F(Children, ThatCannotBeExecutedEndWith126Or127) {
  Child missing = Child::Start({(directory_ / "missing").string()}, log()).value();
  EXPECT_EQ(Wait(missing).exit_code, 127);
  ASSERT_TRUE(WriteFileAtomically(directory_ / "file", "no program").ok());
  Child file = Child::Start({(directory_ / "file").string()}, log()).value();
  EXPECT_EQ(Wait(file).exit_code, 126);
}

TEST_F(Children, HaveAProcessGroupOfTheirOwn) {
  Child child = Shell("exec sleep 100");
  EXPECT_TRUE(Eventually(20, [&] { return getpgid(child.pid()) == child.pid(); }));
}

TEST_F(Children, AreKilledWithTheirObject) {
  pid_t pid = 0;
  {
    const Child child = Shell("exec sleep 100");
    pid = child.pid();
  }
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST_F(Children, DieWithTheirParent) {
  const fs::path pid_file = directory_ / "pid";
  const pid_t parent = fork();
  if (parent == 0) {
    const Child child = Shell("echo $$ >" + pid_file.string() + ".new; mv " + pid_file.string() + ".new " +
                              pid_file.string() + "; exec sleep 100");
    pause();
    _exit(0);
  }
  ASSERT_TRUE(Eventually(20, [&] { return fs::exists(pid_file); }));
  const pid_t child = std::stoi(ReadFile(pid_file).value());
  ASSERT_EQ(kill(child, 0), 0);
  kill(parent, SIGKILL);
  waitpid(parent, nullptr, 0);
  // Its new parent may not have waited for it yet: a zombie counts as dead.
  EXPECT_TRUE(Eventually(20, [&] {
    const auto stat = ReadFile("/proc/" + std::to_string(child) + "/stat");
    return !stat.ok() || stat->find(") Z ") != std::string::npos;
  }));
}

}  // namespace
}  // namespace retort
