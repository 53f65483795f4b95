// The command line of retort-worker.
#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

namespace retort {

inline constexpr char kWorkerName[] = "retort-worker";

struct WorkerCommand {
  std::string orchestrator;
  std::string host;  // empty: the address towards the orchestrator
  std::string name;
  uint64_t memory_bytes = 0;
  int grace_seconds = 25;
  std::vector<std::filesystem::path> roots;
  int threads = 0;  // 0: all cores
  std::optional<std::filesystem::path> weights_directory;
};

// As ParseCommand: nothing when the program should go on, else its exit code.
std::optional<int> ParseWorkerCommand(const std::vector<std::string>& args, WorkerCommand& command,
                                      std::ostream& out, std::ostream& err);

}  // namespace retort
