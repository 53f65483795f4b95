#include "tests/bench/memory.h"

#include <malloc.h>

#include <cmath>
#include <fstream>
#include <string>

namespace retort {
namespace {

double StatusBytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(key + ":", 0) == 0) return 1024.0 * std::stod(line.substr(key.size() + 1));
  }
  return NAN;
}

}  // namespace

double PeakResidentBytes() { return StatusBytes("VmHWM"); }

double AddedPeakBytes(const std::function<void()>& function) {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";  // resets VmHWM
  const double before = StatusBytes("VmRSS");
  function();
  return StatusBytes("VmHWM") - before;
}

}  // namespace retort
