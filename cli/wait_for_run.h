// --wait: until a run has ended, or has reached a state.
#pragma once

#include <functional>
#include <string>

#include "cli/client/orchestrator.h"
#include "cli/service_flags.h"

namespace retort {

// 0 succeeded, 10 failed, 11 cancelled, 12 not ended.
int RunStateExitCode(v1::RunState state);

// Why a run that ended, or did not yet, is no success: its state, its reason, what to do. OK when it
// succeeded.
absl::Status RunStateError(const v1::RunSummary& run);

struct WaitOptions {
  std::string command;  // for messages: "retort submit"
  v1::RunRef run = {};
  ServiceFlags flags;  // --timeout limits the wait; without it there is no limit
  // The wait is over, with code 0, in this state; UNSPECIFIED: when the run has ended, with its code.
  v1::RunState until = v1::RUN_STATE_UNSPECIFIED;
  bool show_events = false;  // of the run's whole life, on the error stream
};

// Returns the exit code; what is wrong is said then.
int WaitForRun(Orchestrator& orchestrator, const WaitOptions& options);

}  // namespace retort
