#include "core/base/machine_memory.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "absl/strings/numbers.h"

namespace retort {
namespace {

// The limit of this process's control group and of those above it; the largest number when there is none.
uint64_t ControlGroupBytes() {
  uint64_t least = std::numeric_limits<uint64_t>::max();
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (line.rfind("0::", 0) != 0) continue;
    std::filesystem::path group = "/sys/fs/cgroup" + line.substr(3);
    for (; group.string().size() >= sizeof("/sys/fs/cgroup") - 1; group = group.parent_path()) {
      std::string text;
      uint64_t bytes = 0;
      if (std::getline(std::ifstream(group / "memory.max"), text) && absl::SimpleAtoi(text, &bytes)) {
        least = std::min(least, bytes);
      }
    }
  }
  return least;
}

}  // namespace

uint64_t MachineMemoryBytes() {
  const auto pages = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES));
  return std::min(pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)), ControlGroupBytes());
}

}  // namespace retort
