// pause, resume, cancel and retry: one call on one run, repeatable by its request id, and --wait.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "cli/service_flags.h"
#include "cli/wait_for_run.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"

namespace retort {

template <class Request, class Reply>
struct RunChange {
  std::string command;  // "retort pause"
  std::string purpose;
  std::vector<std::string> examples;
  std::string wait_help;  // of --wait; empty: there is nothing to wait for
  grpc::Status (v1::RunService::Stub::*method)(grpc::ClientContext*, const Request&, Reply*);
  std::function<std::string(const std::string& run, const Reply& reply)>
      text;                                        // one line that says what was done
  v1::RunState until = v1::RUN_STATE_UNSPECIFIED;  // as in WaitOptions
};

template <class Request, class Reply>
int ChangeRunVerb(const RunChange<Request, Reply>& change, const std::vector<std::string>& args) {
  std::string run, request_id;
  bool wait = false;
  ServiceFlags flags;
  CLI::App app;
  DescribeCommand(app, change.command, change.purpose, change.examples);
  app.add_option("RUN", run, "Its name or its id; a name means the newest run of that name")->required();
  if (!change.wait_help.empty()) app.add_flag("--wait", wait, change.wait_help);
  AddRequestIdFlag(app, request_id);
  AddServiceFlags(app, flags, OutputChoice::kJsonYaml);
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) return *exit_code;
  if (request_id.empty()) request_id = DrawRequestId();
  absl::StatusOr<Orchestrator> orchestrator = Connect(flags);
  if (!orchestrator.ok()) return ReportServiceError(change.command, orchestrator.status(), flags, request_id);
  Request request;
  request.set_request_id(request_id);
  *request.mutable_run() = ParseRunRef(run);
  const absl::StatusOr<Reply> reply = orchestrator->Call(change.method, request);
  if (!reply.ok()) return ReportServiceError(change.command, reply.status(), flags, request_id);
  PrintReply(flags, *reply, change.text(run, *reply));
  std::cout.flush();
  if (!wait) return kExitOk;
  return WaitForRun(*orchestrator,
                    {.command = change.command, .run = request.run(), .flags = flags, .until = change.until});
}

}  // namespace retort
