#include "core/base/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include "core/base/check.h"

namespace retort {
namespace {

std::atomic<bool> interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free, "the handler may only touch lock-free atomics");

void OnSignal(int signal) {
  const bool again = interrupted.exchange(true);
  if (again && signal == SIGINT) {
    _exit(128 + SIGINT);
  }
}

}  // namespace

const std::atomic<bool>& InstallInterruptHandler() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  RETORT_CHECK(sigaction(SIGINT, &action, nullptr) == 0 && sigaction(SIGTERM, &action, nullptr) == 0);
  return interrupted;
}

}  // namespace retort
