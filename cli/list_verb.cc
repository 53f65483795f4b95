#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>

#include "cli/service_flags.h"
#include "cli/show/run_tables.h"
#include "cli/show/words.h"
#include "cli/verbs.h"
#include "core/base/clock.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

constexpr char kName[] = "retort list";
constexpr uint32_t kLargestPage = 1000;

struct ListCommand {
  std::vector<std::string> states;
  uint32_t limit = 100;
  ServiceFlags flags;
};

// As many pages as the limit needs, as one reply.
absl::StatusOr<v1::ListReply> Fetch(Orchestrator& orchestrator, const ListCommand& command) {
  v1::ListRequest request;
  for (const std::string& state : command.states) request.add_states(*FromWord<v1::RunState>(state));
  v1::ListReply all;
  do {
    request.set_page_size(std::min(command.limit - all.runs_size(), kLargestPage));
    ASSIGN_OR_RETURN(const v1::ListReply page, orchestrator.Call(&v1::RunService::Stub::List, request));
    all.mutable_runs()->MergeFrom(page.runs());
    all.set_next_before_run_id(page.next_before_run_id());
    request.set_before_run_id(page.next_before_run_id());
  } while (all.next_before_run_id() != 0 && static_cast<uint32_t>(all.runs_size()) < command.limit);
  return all;
}

absl::Status List(const ListCommand& command) {
  ASSIGN_OR_RETURN(Orchestrator orchestrator, Connect(command.flags));
  ASSIGN_OR_RETURN(const v1::ListReply reply, Fetch(orchestrator, command));
  PrintReply(command.flags, reply,
             RenderRuns(reply, command.flags.output == OutputFormat::kWide, UnixMilliseconds()));
  if (reply.next_before_run_id() != 0 && !command.flags.for_programs()) {
    std::cerr << kName << ": there are older runs; --limit shows more\n";
  }
  return absl::OkStatus();
}

}  // namespace

int ListVerb(const std::vector<std::string>& args) {
  ListCommand command;
  CLI::App app;
  DescribeCommand(
      app, kName, "Lists runs, the newest first.",
      {"retort list", "retort list --state running --state queued", "retort list --limit 1000 -o wide"});
  app.add_option("--state", command.states, "Only runs in this state, such as running or failed; repeatable")
      ->type_name("STATE")
      ->allow_extra_args(false)
      ->check(CLI::IsMember(EnumWords(*v1::RunState_descriptor())));
  app.add_option("--limit", command.limit, "Show at most so many (default: 100)")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000'000));
  AddServiceFlags(app, command.flags, OutputChoice::kWideJsonYaml);
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) return *exit_code;
  const absl::Status status = List(command);
  return status.ok() ? kExitOk : ReportServiceError(kName, status, command.flags);
}

}  // namespace retort
