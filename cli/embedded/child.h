// A program that serves this process: it writes to a log file, is out of the terminal's reach, and dies with
// its parent.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/embedded/supervision.h"

namespace retort {

// Used by the thread that started it, which has to be the process's first: the kernel kills the child when
// that thread ends. Move-only; the destructor kills what still runs.
class Child {
 public:
  // Starts argv[0], a path. Output and errors are appended to `log_file`; the input is empty. Its process
  // group is its own, so Ctrl-C does not reach it. A program that cannot be executed ends with code 126 or
  // 127.
  static absl::StatusOr<Child> Start(const std::vector<std::string>& argv,
                                     const std::filesystem::path& log_file);

  Child(Child&& other) noexcept;
  Child& operator=(Child&& other) noexcept;
  ~Child();

  pid_t pid() const { return pid_; }

  // How it ended; nothing while it runs. Ask no more after that.
  std::optional<ChildEnd> Ended();

  // Signal it; no error when it has just ended.
  void Signal(int signal) const;

 private:
  Child(pid_t pid, double started_seconds) : pid_(pid), started_seconds_(started_seconds) {}

  pid_t pid_ = -1;  // -1: ended or moved from
  double started_seconds_ = 0;
};

}  // namespace retort
