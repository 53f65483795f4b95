#include "cli/wait_for_run.h"

#include <iostream>
#include <limits>

#include "absl/strings/str_cat.h"
#include "cli/client/follow_run.h"
#include "cli/show/event_text.h"
#include "cli/show/run_tables.h"
#include "cli/show/words.h"
#include "core/base/clock.h"
#include "core/base/exit_code.h"
#include "core/base/interrupt.h"
#include "core/base/terminal.h"

namespace retort {
namespace {

std::string Advice(const v1::RunSummary& run) {
  switch (run.state()) {
    case v1::RUN_STATE_FAILED:
      return absl::StrCat("; see 'retort get ", run.run_id(), "' and 'retort logs ", run.run_id(),
                          "', and take it up again by 'retort retry ", run.run_id(), "'");
    case v1::RUN_STATE_CANCELLED:
      return "";
    default:
      return absl::StrCat("; it goes on: 'retort watch ", run.run_id(), "'");
  }
}

}  // namespace

int RunStateExitCode(v1::RunState state) {
  switch (state) {
    case v1::RUN_STATE_SUCCEEDED:
      return kExitOk;
    case v1::RUN_STATE_FAILED:
      return kExitFailed;
    case v1::RUN_STATE_CANCELLED:
      return kExitCancelled;
    default:
      return kExitNotFinished;
  }
}

absl::Status RunStateError(const v1::RunSummary& run) {
  const std::string text =
      absl::StrCat("run ", RunHeadline(run), run.reason().empty() ? "" : ": ", run.reason(), Advice(run));
  switch (run.state()) {
    case v1::RUN_STATE_SUCCEEDED:
      return absl::OkStatus();
    case v1::RUN_STATE_FAILED:
      return absl::InternalError(text);
    case v1::RUN_STATE_CANCELLED:
      return absl::CancelledError(text);
    default:
      return absl::DeadlineExceededError(text);
  }
}

int WaitForRun(Orchestrator& orchestrator, const WaitOptions& options) {
  const std::atomic<bool>& stop = InstallInterruptHandler();
  const double end =
      MonotonicSeconds() + options.flags.timeout_seconds.value_or(std::numeric_limits<double>::infinity());
  v1::RunStatus last;
  const auto reached = [&] {
    return options.until != v1::RUN_STATE_UNSPECIFIED && last.summary().state() == options.until;
  };
  FollowOptions follow = {.run = options.run, .first_patience_seconds = options.flags.patience_seconds()};
  const absl::StatusOr<v1::RunStatus> ended =
      FollowRun(orchestrator, follow, [&](const v1::WatchReply* part) {
        if (part != nullptr && part->has_snapshot()) last = part->snapshot();
        if (part != nullptr && part->has_event() && options.show_events) {
          std::cerr << EventLine(part->event()) << std::endl;
        }
        return !reached() && !stop && MonotonicSeconds() < end;
      });
  if (ended.ok()) last = *ended;
  const auto say_so = [&] {
    if (!options.flags.for_programs()) std::cout << RunHeadline(last.summary()) << "\n";
    return kExitOk;
  };
  if (reached()) return say_so();
  if (!ended.ok() && !absl::IsCancelled(ended.status())) {
    return ReportServiceError(options.command, ended.status(), options.flags);
  }
  if (stop && CanRedraw(2)) std::cerr << "\r";  // over the terminal's ^C
  if (!last.has_summary() && stop) {
    return ReportRunEnd(options.command, absl::CancelledError("the waiting was ended; the run goes on"),
                        kExitNotFinished, options.flags);
  }
  if (!last.has_summary()) {
    return ReportServiceError(
        options.command,
        Unreachable(orchestrator.address(), absl::DeadlineExceededError("the time is over"),
                    options.flags.patience_seconds()),
        options.flags);
  }
  const absl::Status status = RunStateError(last.summary());
  return status.ok()
             ? say_so()
             : ReportRunEnd(options.command, status, RunStateExitCode(last.summary().state()), options.flags);
}

}  // namespace retort
