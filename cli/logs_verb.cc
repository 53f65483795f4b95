#include <CLI/CLI.hpp>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "cli/client/read_logs.h"
#include "cli/service_flags.h"
#include "cli/show/message_text.h"
#include "cli/show/words.h"
#include "cli/verbs.h"
#include "core/base/clock.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

constexpr char kName[] = "retort logs";
constexpr uint32_t kMostLines = 1'000'000;
constexpr uint64_t kMostTokens = 1'000'000'000'000;

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

absl::Status Logs(const LogsCommand& command) {
  ReadLogsOptions options = {.first_patience_seconds = command.flags.patience_seconds()};
  if (!command.follow) options.patience_seconds = command.flags.patience_seconds();
  ASSIGN_OR_RETURN(options.request, MakeRequest(command));
  ASSIGN_OR_RETURN(Orchestrator orchestrator, Connect(command.flags));
  const std::atomic<bool>& stop = InstallInterruptHandler();
  const bool as_json = command.flags.output == OutputFormat::kJson;
  return ReadLogs(orchestrator, options, [&](const v1::LogsReply* reply) {
    if (reply != nullptr) Print(*reply, as_json);
    return !stop && std::cout.good();
  });
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
      ->type_name("N")
      ->check(CLI::Range(uint64_t{1}, kMostTokens));
  app.add_option("--level", command.level, "The least level that is shown: debug, info, warning or error")
      ->type_name("LEVEL")
      ->capture_default_str()
      ->check(CLI::IsMember(EnumWords(*v1::LogLevel_descriptor())));
  app.add_option("--since", command.since, "Only lines of the last so long, such as 10m")->type_name("TIME");
  app.add_option("--tail", command.tail_lines, "Only the last so many lines")
      ->type_name("N")
      ->check(CLI::Range(1u, kMostLines));
  app.add_flag("-f,--follow", command.follow, "Go on with what comes, until the run has ended");
  AddServiceFlags(app, command.flags, OutputChoice::kJson);
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) return *exit_code;
  const absl::Status status = Logs(command);
  if (status.ok() || absl::IsCancelled(status)) return kExitOk;
  return ReportServiceError(kName, status, command.flags);
}

}  // namespace retort
