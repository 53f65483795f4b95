// A program that a test starts, signals and waits for, and waiting for a condition.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace retort {

// Whether `condition` becomes true within `seconds`. It is asked every few milliseconds, once more at the
// end.
bool Eventually(double seconds, const std::function<bool()>& condition);

struct ProgramEnd {
  int exit_code = -1;  // -1 when a signal ended the program
  int signal = 0;
  std::string out, err;  // all of its standard output and error
};

// Not thread-safe. A program that still runs is killed by the destructor.
class ChildProcess {
 public:
  // Starts argv[0], a path, with the other arguments, and `environment`, each NAME=VALUE, besides our own.
  // Its standard input is empty; its output goes to files that Wait reads. A program that cannot be started
  // ends with exit code 127.
  explicit ChildProcess(const std::vector<std::string>& argv,
                        const std::vector<std::string>& environment = {});
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  bool running();
  // What it has written so far; before Wait.
  std::string out() const;
  std::string err() const;
  void Signal(int signal) const;

  // Waits for its end; after `seconds` kills it. Call once.
  ProgramEnd Wait(double seconds);

 private:
  std::filesystem::path directory_;  // of the output files
  pid_t pid_ = -1;
  int pid_fd_ = -1;  // readable once the program has ended
};

// Starts, waits, and returns the end.
ProgramEnd RunProgram(const std::vector<std::string>& argv, double seconds);

}  // namespace retort
