#include "tests/support/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "core/base/check.h"

namespace retort {
namespace {

std::string Contents(const std::filesystem::path& file) {
  std::ostringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

// As exec takes them: NULL at the end.
std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Runs in the child between fork and exec: system calls only.
void Redirect(int fd, const char* file, int flags) {
  const int opened = open(file, flags, 0600);
  if (opened < 0 || dup2(opened, fd) < 0) _exit(127);
  close(opened);
}

// Whether `pid_fd` becomes readable within `milliseconds`.
bool Ended(int pid_fd, int milliseconds) {
  pollfd event = {.fd = pid_fd, .events = POLLIN, .revents = 0};
  return poll(&event, 1, milliseconds) == 1;
}

}  // namespace

bool Eventually(double seconds, const std::function<bool()>& condition) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::duration<double>(seconds);
  while (!condition()) {
    if (Clock::now() >= deadline) return condition();
    constexpr int kMilliseconds = 2;
    poll(nullptr, 0, kMilliseconds);
  }
  return true;
}

ChildProcess::ChildProcess(const std::vector<std::string>& argv,
                           const std::vector<std::string>& environment) {
  std::string directory = (std::filesystem::temp_directory_path() / "retort_child_XXXXXX").string();
  RETORT_CHECK(mkdtemp(directory.data()) != nullptr) << directory;
  directory_ = directory;
  const std::string out = directory_ / "out", err = directory_ / "err";
  std::vector<char*> arguments = Pointers(argv);
  std::vector<char*> variables = Pointers(environment);  // the first of a name counts
  variables.pop_back();
  for (char** own = environ; *own != nullptr; ++own) variables.push_back(*own);
  variables.push_back(nullptr);
  pid_ = fork();
  RETORT_CHECK(pid_ >= 0) << "fork for " << argv[0];
  if (pid_ == 0) {
    Redirect(STDIN_FILENO, "/dev/null", O_RDONLY);
    Redirect(STDOUT_FILENO, out.c_str(), O_WRONLY | O_CREAT);
    Redirect(STDERR_FILENO, err.c_str(), O_WRONLY | O_CREAT);
    execve(arguments[0], arguments.data(), variables.data());
    _exit(127);
  }
  pid_fd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  RETORT_CHECK(pid_fd_ >= 0) << "pidfd_open of " << argv[0];
}

ChildProcess::~ChildProcess() {
  if (pid_ >= 0) Wait(0);
}

bool ChildProcess::running() { return pid_ >= 0 && !Ended(pid_fd_, 0); }

std::string ChildProcess::out() const { return Contents(directory_ / "out"); }
std::string ChildProcess::err() const { return Contents(directory_ / "err"); }

void ChildProcess::Signal(int signal) const {
  RETORT_CHECK(pid_ >= 0 && kill(pid_, signal) == 0) << "signal " << signal << " to process " << pid_;
}

ProgramEnd ChildProcess::Wait(double seconds) {
  RETORT_CHECK(pid_ >= 0) << "waited for already";
  if (!Ended(pid_fd_, static_cast<int>(seconds * 1000))) kill(pid_, SIGKILL);
  int status = 0;
  RETORT_CHECK(waitpid(pid_, &status, 0) == pid_) << "process " << pid_;
  close(pid_fd_);
  pid_ = -1;
  ProgramEnd end;
  if (WIFEXITED(status)) end.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  end.out = out();
  end.err = err();
  std::filesystem::remove_all(directory_);
  return end;
}

ProgramEnd RunProgram(const std::vector<std::string>& argv, double seconds) {
  return ChildProcess(argv).Wait(seconds);
}

}  // namespace retort
