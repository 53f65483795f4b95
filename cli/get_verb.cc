#include <CLI/CLI.hpp>
#include <iostream>

#include "cli/service_flags.h"
#include "cli/show/run_tables.h"
#include "cli/verbs.h"
#include "core/base/clock.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

constexpr char kName[] = "retort get";

absl::Status Get(const std::string& run, const ServiceFlags& flags) {
  ASSIGN_OR_RETURN(Orchestrator orchestrator, Connect(flags));
  v1::GetRequest request;
  *request.mutable_run() = ParseRunRef(run);
  ASSIGN_OR_RETURN(const v1::GetReply reply, orchestrator.Call(&v1::RunService::Stub::Get, request));
  PrintReply(flags, reply, RenderRun(reply, flags.output == OutputFormat::kWide, UnixMilliseconds()));
  return absl::OkStatus();
}

}  // namespace

int GetVerb(const std::vector<std::string>& args) {
  std::string run;
  ServiceFlags flags;
  CLI::App app;
  DescribeCommand(
      app, kName, "Shows a run: its state, its tasks and, with -o wide, its attempts.",
      {"retort get smollm2-hybrid", "retort get 17 -o wide", "retort get smollm2-hybrid -o json"});
  app.add_option("RUN", run, "Its name or its id; a name means the newest run of that name")->required();
  AddServiceFlags(app, flags, OutputChoice::kWideJsonYaml);
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) return *exit_code;
  const absl::Status status = Get(run, flags);
  return status.ok() ? kExitOk : ReportServiceError(kName, status, flags);
}

}  // namespace retort
