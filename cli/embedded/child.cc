#include "cli/embedded/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/file_error.h"

namespace retort {
namespace {

// Runs between fork and exec, with all signals blocked, in a process that may have other threads: system calls
// only. The parent's handlers would take a signal that is meant for the program, and it would be lost.
[[noreturn]] void BecomeProgram(char* const* argv, int log_fd, int null_fd, pid_t parent) {
  constexpr int kCannotExecute = 126, kNoSuchProgram = 127;
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kCannotExecute);  // it died before that took effect
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (dup2(null_fd, 0) < 0 || dup2(log_fd, 1) < 0 || dup2(log_fd, 2) < 0) _exit(kCannotExecute);
  execv(argv[0], argv);
  _exit(errno == ENOENT ? kNoSuchProgram : kCannotExecute);
}

}  // namespace

absl::StatusOr<Child> Child::Start(const std::vector<std::string>& argv,
                                   const std::filesystem::path& log_file) {
  const int log_fd = open(log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (log_fd < 0) return FileError(errno, "cannot open", log_file);
  const int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  sigset_t all, before;
  sigfillset(&all);
  RETORT_CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
  const pid_t pid = fork();
  if (pid == 0) BecomeProgram(arguments.data(), log_fd, null_fd, parent);
  const int error = errno;
  RETORT_CHECK(pthread_sigmask(SIG_SETMASK, &before, nullptr) == 0);
  close(log_fd);
  close(null_fd);
  if (pid < 0) return absl::ErrnoToStatus(error, absl::StrCat("cannot start ", argv[0]));
  return Child(pid, MonotonicSeconds());
}

Child::Child(Child&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), started_seconds_(other.started_seconds_) {}

Child& Child::operator=(Child&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(started_seconds_, other.started_seconds_);
  return *this;
}

Child::~Child() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

std::optional<ChildEnd> Child::Ended() {
  RETORT_CHECK(pid_ >= 0) << "asked again after its end";
  int status = 0;
  const pid_t ended = waitpid(pid_, &status, WNOHANG);
  if (ended == 0) return std::nullopt;
  RETORT_CHECK(ended == pid_) << "waitpid of " << pid_ << ", errno " << errno;
  pid_ = -1;
  ChildEnd end;
  end.lived_seconds = MonotonicSeconds() - started_seconds_;
  if (WIFEXITED(status)) end.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  return end;
}

void Child::Signal(int signal) const {
  if (pid_ >= 0) kill(pid_, signal);
}

}  // namespace retort
