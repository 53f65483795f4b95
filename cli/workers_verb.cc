#include <CLI/CLI.hpp>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "cli/client/follow_run.h"
#include "cli/service_flags.h"
#include "cli/show/words.h"
#include "cli/show/worker_table.h"
#include "cli/verbs.h"
#include "core/base/clock.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/interrupt.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

constexpr char kName[] = "retort workers";
constexpr char kDrain[] = "retort workers drain";

absl::Status ListWorkers(const ServiceFlags& flags) {
  ASSIGN_OR_RETURN(Orchestrator orchestrator, Connect(flags));
  ASSIGN_OR_RETURN(const v1::ListWorkersReply reply,
                   orchestrator.Call(&v1::RunService::Stub::ListWorkers, v1::ListWorkersRequest()));
  PrintReply(flags, reply, RenderWorkers(reply, flags.output == OutputFormat::kWide, UnixMilliseconds()));
  return absl::OkStatus();
}

int List(const std::vector<std::string>& args) {
  ServiceFlags flags;
  CLI::App app;
  DescribeCommand(
      app, kName,
      "Lists the workers, what they do and, with -o wide, why they are idle. 'retort workers drain NAME'\n"
      "lets one save, give its work back and exit.",
      {"retort workers", "retort workers -o wide", "retort workers drain node-3 --wait"});
  AddServiceFlags(app, flags, OutputChoice::kWideJsonYaml);
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) return *exit_code;
  const absl::Status status = ListWorkers(flags);
  return status.ok() ? kExitOk : ReportServiceError(kName, status, flags);
}

// When the worker of this name registered, which tells it from the next one of the name; 0: there is none.
absl::StatusOr<int64_t> RegisteredUnixMs(Orchestrator& orchestrator, const std::string& name) {
  ASSIGN_OR_RETURN(const v1::ListWorkersReply reply,
                   orchestrator.Call(&v1::RunService::Stub::ListWorkers, v1::ListWorkersRequest()));
  for (const v1::WorkerStatus& worker : reply.workers()) {
    if (worker.name() == name) return worker.registered_unix_ms();
  }
  return 0;
}

// Its supervisor may start it again under the same name.
int WaitUntilGone(Orchestrator& orchestrator, const std::string& name, int64_t registered_unix_ms,
                  const ServiceFlags& flags) {
  constexpr double kAskEverySeconds = 0.5;
  const std::atomic<bool>& stop = InstallInterruptHandler();
  const double start = MonotonicSeconds();
  while (true) {
    const absl::StatusOr<int64_t> registered = RegisteredUnixMs(orchestrator, name);
    if (!registered.ok()) return ReportServiceError(kDrain, registered.status(), flags);
    if (*registered == 0 || *registered != registered_unix_ms) return kExitOk;
    const double waited = MonotonicSeconds() - start;
    if (stop || (flags.timeout_seconds && waited >= *flags.timeout_seconds)) {
      return ReportRunEnd(kDrain,
                          absl::DeadlineExceededError(absl::StrCat("worker ", name, " has not left in ",
                                                                   FormatPreciseDuration(waited),
                                                                   "; it still drains: 'retort workers'")),
                          kExitNotFinished, flags);
    }
    WaitSeconds(kAskEverySeconds);
  }
}

int Drain(const std::vector<std::string>& args) {
  std::string name, request_id;
  bool wait = false;
  ServiceFlags flags;
  CLI::App app;
  DescribeCommand(app, kDrain, "Lets a worker save, give its work back and exit with 0.",
                  {"retort workers drain node-3", "retort workers drain node-3 --wait --timeout 2m"});
  app.add_option("NAME", name, "The worker's name, as 'retort workers' shows it")->required();
  app.add_flag("--wait", wait, "Return when the worker has left");
  AddRequestIdFlag(app, request_id);
  AddServiceFlags(app, flags, OutputChoice::kJsonYaml);
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) return *exit_code;
  if (request_id.empty()) request_id = DrawRequestId();
  absl::StatusOr<Orchestrator> orchestrator = Connect(flags);
  if (!orchestrator.ok()) return ReportServiceError(kDrain, orchestrator.status(), flags, request_id);
  v1::DrainWorkerRequest request;
  request.set_request_id(request_id);
  request.set_worker_name(name);
  const absl::StatusOr<v1::DrainWorkerReply> reply =
      orchestrator->Call(&v1::RunService::Stub::DrainWorker, request);
  if (!reply.ok()) return ReportServiceError(kDrain, reply.status(), flags, request_id);
  const absl::StatusOr<int64_t> registered = wait ? RegisteredUnixMs(*orchestrator, name) : 0;
  if (!registered.ok()) return ReportServiceError(kDrain, registered.status(), flags);
  PrintReply(flags, *reply, absl::StrCat("worker ", name, " is told to save and leave\n"));
  std::cout.flush();
  return wait ? WaitUntilGone(*orchestrator, name, *registered, flags) : kExitOk;
}

}  // namespace

int WorkersVerb(const std::vector<std::string>& args) {
  if (!args.empty() && args[0] == "drain") return Drain({args.begin() + 1, args.end()});
  if (!args.empty() && args[0].substr(0, 1) != "-") {
    return ReportError(kName,
                       absl::InvalidArgumentError(absl::StrCat("unexpected argument '", args[0],
                                                               "'; 'retort workers drain NAME' drains one")),
                       std::cerr);
  }
  return List(args);
}

}  // namespace retort
