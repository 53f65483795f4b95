#include "core/base/standard_streams.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <initializer_list>

namespace retort {
namespace {

// The exit status of a child that runs `body` with `closed` descriptors closed.
int StatusOfChild(std::initializer_list<int> closed, const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    for (const int fd : closed) close(fd);
    OccupyClosedStandardStreams();
    _exit(body());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(StandardStreams, FilesNeverGetTheNumberOfAClosedOne) {
  EXPECT_EQ(StatusOfChild({0, 1, 2}, [] { return open("/dev/zero", O_RDONLY) > 2 ? 0 : 1; }), 0);
}

TEST(StandardStreams, WritingToAClosedOneFailsAsBefore) {
  EXPECT_EQ(StatusOfChild({1}, [] { return write(1, "x", 1) < 0 && errno == EBADF ? 0 : 1; }), 0);
  EXPECT_EQ(StatusOfChild({2}, [] { return write(2, "x", 1) < 0 && errno == EBADF ? 0 : 1; }), 0);
}

TEST(StandardStreams, OpenOnesStay) {
  EXPECT_EQ(StatusOfChild({}, [] { return write(1, "", 0) == 0 ? 0 : 1; }), 0);
}

}  // namespace
}  // namespace retort
