#include <CLI/CLI.hpp>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "cli/client/follow_run.h"
#include "cli/client/server_stream.h"
#include "cli/service_flags.h"
#include "cli/show/message_text.h"
#include "cli/show/words.h"
#include "cli/verbs.h"
#include "core/base/clock.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"

namespace retort {
namespace {

constexpr char kName[] = "retort logs";
constexpr std::chrono::milliseconds kTick{100};
constexpr double kOutageSeconds = 600;

struct LogsCommand {
  std::string run, worker, stage, level = "info";
  uint64_t token = 0;
  std::string since;
  uint32_t tail_lines = 0;
  bool follow = false;
  ServiceFlags flags;
};

void Print(const v1::LogsReply& reply, bool as_json) {
  if (reply.dropped_lines() > 0) {
    if (as_json) {
      std::cout << "{\"dropped_lines\":\"" << reply.dropped_lines() << "\"}\n";
    } else {
      std::cout << "(" << reply.dropped_lines() << " lines are missing here)\n";
    }
  }
  for (const v1::LogLine& line : reply.lines()) {
    std::cout << (as_json ? MessageJsonLine(line) : RenderLogLine(line) + "\n");
  }
  std::cout.flush();
}

absl::StatusOr<v1::LogsRequest> MakeRequest(const LogsCommand& command) {
  v1::LogsRequest request;
  if (!command.run.empty()) *request.mutable_run() = ParseRunRef(command.run);
  request.set_worker_name(command.worker);
  if (!command.stage.empty()) request.set_stage(*FromWord<v1::Stage>(command.stage));
  request.set_token(command.token);
  request.set_min_level(*FromWord<v1::LogLevel>(command.level));
  if (!command.since.empty()) {
    const absl::StatusOr<double> seconds = ParseSeconds(command.since);
    if (!seconds.ok())
      return absl::InvalidArgumentError(absl::StrCat("--since: ", seconds.status().message()));
    request.set_since_unix_ms(UnixMilliseconds() - static_cast<int64_t>(1000 * *seconds));
  }
  request.set_tail_lines(command.tail_lines);
  request.set_follow(command.follow);
  return request;
}

// One stream to its end; CANCELLED when `stop` was set. `request` moves on behind the lines that came.
absl::Status ReadStream(Orchestrator& orchestrator, bool as_json, const std::atomic<bool>& stop,
                        v1::LogsRequest& request, bool& heard) {
  using Stream = ServerStream<v1::LogsReply>;
  Stream stream([&](grpc::ClientContext* context, grpc::CompletionQueue* queue) {
    return orchestrator.stub().AsyncLogs(context, request, queue, nullptr);
  });
  v1::LogsReply reply;
  while (!stop && std::cout.good()) {
    const Stream::Step step = stream.Read(reply, kTick);
    if (step == Stream::Step::kEnd) return stream.Finish();
    if (step == Stream::Step::kNothingYet) continue;
    heard = true;
    Print(reply, as_json);
    if (!reply.lines().empty()) request.set_since_unix_ms(reply.lines().rbegin()->time_unix_ms() + 1);
    request.set_tail_lines(0);
  }
  return absl::CancelledError("ended by Ctrl-C");
}

absl::Status Logs(const LogsCommand& command) {
  const std::atomic<bool>& stop = InstallInterruptHandler();
  absl::StatusOr<v1::LogsRequest> request = MakeRequest(command);
  if (!request.ok()) return request.status();
  absl::StatusOr<Orchestrator> orchestrator = Connect(command.flags);
  if (!orchestrator.ok()) return orchestrator.status();
  const bool as_json = command.flags.output == OutputFormat::kJson;
  double silent_since = MonotonicSeconds();
  Repeats repeats(silent_since, command.follow ? kOutageSeconds : command.flags.patience_seconds());
  while (true) {
    bool heard = false;
    const absl::Status status = ReadStream(*orchestrator, as_json, stop, *request, heard);
    if (status.ok() || (absl::IsCancelled(status) && stop) || !StreamMayPass(status)) return status;
    const double now = MonotonicSeconds();
    if (heard) {
      silent_since = now;
      repeats.Succeeded(now);
      std::cerr << kName << ": the connection broke; lines may be missing here\n";
    }
    const double wait = repeats.AfterFailure(now, DrawRandom());
    if (wait < 0) return Unreachable(orchestrator->address(), status, now - silent_since);
    if (!orchestrator->WaitToRepeat(wait, [&stop] { return !stop; })) return absl::CancelledError("ended by Ctrl-C");
  }
}

}  // namespace

int LogsVerb(const std::vector<std::string>& args) {
  LogsCommand command;
  CLI::App app;
  DescribeCommand(app, kName,
                  "Prints log lines of workers and orchestrator, as far as the orchestrator keeps them.",
                  {"retort logs smollm2-hybrid --follow", "retort logs 17 --worker node-3 --level warning",
                   "retort logs --since 10m --tail 100"});
  app.add_option("RUN", command.run, "Its name or its id (default: lines of all runs and of none)");
  app.add_option("--worker", command.worker, "Only lines of this worker")->type_name("NAME");
  app.add_option("--stage", command.stage, "Only lines of this stage, such as end_to_end")
      ->type_name("STAGE")
      ->check(CLI::IsMember(EnumWords(*v1::Stage_descriptor())));
  app.add_option("--token", command.token, "Only lines of this attempt, as 'retort get -o wide' names it")
      ->type_name("N");
  app.add_option("--level", command.level, "The least level: debug, info, warning or error")
      ->type_name("LEVEL")
      ->capture_default_str()
      ->check(CLI::IsMember(EnumWords(*v1::LogLevel_descriptor())));
  app.add_option("--since", command.since, "Only lines of the last so long, such as 10m")->type_name("TIME");
  app.add_option("--tail", command.tail_lines, "Only the last so many lines")->type_name("N");
  app.add_flag("--follow", command.follow, "Go on with what comes, until the run has ended");
  AddServiceFlags(app, command.flags, OutputChoice::kJson);
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) return *exit_code;
  const absl::Status status = Logs(command);
  if (status.ok() || absl::IsCancelled(status)) return kExitOk;
  return ReportServiceError(kName, status, command.flags);
}

}  // namespace retort
