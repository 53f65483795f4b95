#include <CLI/CLI.hpp>
#include <algorithm>
#include <deque>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "cli/client/follow_run.h"
#include "cli/service_flags.h"
#include "cli/show/event_text.h"
#include "cli/show/live_view.h"
#include "cli/show/message_text.h"
#include "cli/show/run_tables.h"
#include "cli/verbs.h"
#include "cli/wait_for_run.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/interrupt.h"
#include "core/base/terminal.h"

namespace retort {
namespace {

constexpr char kName[] = "retort watch";
constexpr int kStdout = 1;
constexpr int kStderr = 2;
constexpr size_t kKeptEvents = 5;

// Where the parts of a watch go.
class WatchScreen {
 public:
  virtual ~WatchScreen() = default;
  virtual void Show(const v1::WatchReply& part) = 0;
};

// A JSON object a line, snapshots too.
class JsonLines : public WatchScreen {
 public:
  void Show(const v1::WatchReply& part) override { std::cout << MessageJsonLine(part) << std::flush; }
};

// A line per event.
class EventLines : public WatchScreen {
 public:
  void Show(const v1::WatchReply& part) override {
    if (part.has_event()) std::cout << EventLine(part.event()) << std::endl;
  }
};

// A table that is drawn again in place.
class LiveTable : public WatchScreen {
 public:
  void Show(const v1::WatchReply& part) override {
    if (part.has_event()) {
      last_events_.push_back(part.event());
      if (last_events_.size() > kKeptEvents) last_events_.pop_front();
    } else {
      run_ = part.snapshot();
    }
    if (!run_.has_summary()) return;
    if (drawn_lines_ > 0) std::cout << "\033[" << drawn_lines_ << "A";
    const std::string text =
        RenderLive(run_, last_events_, {.columns = TerminalWidth(kStdout), .rows = TerminalHeight(kStdout)});
    std::cout << "\r\033[J" << text << std::flush;
    drawn_lines_ = std::count(text.begin(), text.end(), '\n');
  }

 private:
  v1::RunStatus run_;
  std::deque<v1::Event> last_events_;
  int64_t drawn_lines_ = 0;
};

std::unique_ptr<WatchScreen> MakeScreen(const ServiceFlags& flags) {
  if (flags.output == OutputFormat::kJson) return std::make_unique<JsonLines>();
  if (CanRedraw(kStdout)) return std::make_unique<LiveTable>();
  return std::make_unique<EventLines>();
}

int Watch(const std::string& run, const ServiceFlags& flags) {
  absl::StatusOr<Orchestrator> orchestrator = Connect(flags);
  if (!orchestrator.ok()) return ReportServiceError(kName, orchestrator.status(), flags);
  const std::atomic<bool>& stop = InstallInterruptHandler();
  const std::unique_ptr<WatchScreen> screen = MakeScreen(flags);
  const FollowOptions follow = {.run = ParseRunRef(run), .first_patience_seconds = flags.patience_seconds()};
  const absl::StatusOr<v1::RunStatus> end = FollowRun(*orchestrator, follow, [&](const v1::WatchReply* part) {
    if (part != nullptr) screen->Show(*part);
    return !stop && std::cout.good();
  });
  if (absl::IsCancelled(end.status())) {
    if (CanRedraw(kStderr)) std::cerr << "\r";  // over the terminal's ^C
    std::cerr << kName << ": ended; run " << run << " goes on\n";
    return kExitNotFinished;
  }
  if (!end.ok()) return ReportServiceError(kName, end.status(), flags);
  const absl::Status status = RunStateError(end->summary());
  if (!status.ok()) return ReportRunEnd(kName, status, RunStateExitCode(end->summary().state()), flags);
  if (flags.output == OutputFormat::kText) std::cout << RunHeadline(end->summary()) << "\n";
  return kExitOk;
}

}  // namespace

int WatchVerb(const std::vector<std::string>& args) {
  std::string run;
  ServiceFlags flags;
  CLI::App app;
  DescribeCommand(
      app, kName,
      "Shows a run as it goes on: on a terminal a table of layers and stages, elsewhere a line an event.\n"
      "Ends with the run, and with its code. Ctrl-C ends the watch, not the run.",
      {"retort watch smollm2-hybrid", "retort watch 17 -o json"});
  app.add_option("RUN", run, "Its name or its id; a name means the newest run of that name")->required();
  AddServiceFlags(app, flags, OutputChoice::kJson);
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) return *exit_code;
  return Watch(run, flags);
}

}  // namespace retort
