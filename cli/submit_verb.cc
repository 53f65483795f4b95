#include <CLI/CLI.hpp>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "cli/service_flags.h"
#include "cli/verbs.h"
#include "cli/wait_for_run.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/config/job_file.h"

namespace retort {
namespace {

constexpr char kName[] = "retort submit";

struct SubmitCommand {
  std::string job_file;
  int priority = 0;
  std::string request_id;
  bool wait = false;
  ServiceFlags flags;
};

std::string SubmittedText(const v1::JobSpec& job, const v1::SubmitReply& reply) {
  return absl::StrCat("run ", job.name(), " is submitted, id ", reply.run_id(), "\n  retort watch ",
                      job.name(), "\n  retort logs ", job.name(), " --follow\n  retort download ", job.name(),
                      "\n");
}

int Submit(SubmitCommand& command) {
  const absl::StatusOr<v1::JobSpec> job = LoadJobAlone(command.job_file);
  if (!job.ok()) return ReportServiceError(kName, job.status(), command.flags);
  if (command.request_id.empty()) command.request_id = DrawRequestId();
  absl::StatusOr<Orchestrator> orchestrator = Connect(command.flags);
  if (!orchestrator.ok())
    return ReportServiceError(kName, orchestrator.status(), command.flags, command.request_id);
  v1::SubmitRequest request;
  request.set_request_id(command.request_id);
  *request.mutable_job() = *job;
  request.set_priority(command.priority);
  const absl::StatusOr<v1::SubmitReply> reply = orchestrator->Call(&v1::RunService::Stub::Submit, request);
  if (!reply.ok()) return ReportServiceError(kName, reply.status(), command.flags, command.request_id);
  PrintReply(command.flags, *reply, SubmittedText(*job, *reply));
  std::cout.flush();
  if (!command.wait) return kExitOk;
  v1::RunRef run;
  run.set_id(reply->run_id());
  return WaitForRun(
      *orchestrator,
      {.command = kName, .run = run, .flags = command.flags, .show_events = !command.flags.for_programs()});
}

}  // namespace

int SubmitVerb(const std::vector<std::string>& args) {
  SubmitCommand command;
  CLI::App app;
  DescribeCommand(
      app, kName,
      "Gives a job to an orchestrator. The job's files lie where the workers are; they are looked for "
      "there.",
      {"retort submit job.yaml", "retort submit job.yaml --priority 10 --wait",
       "retort submit job.yaml -o json --request-id nightly-2026-11-25"});
  app.add_option("JOB.yaml", command.job_file, "The job file")->required();
  app.add_option("--priority", command.priority, "-100 to 100; a higher run takes workers from lower ones")
      ->type_name("N")
      ->check(CLI::Range(-100, 100));
  app.add_flag("--wait", command.wait, "Return when the run has ended, with its code");
  AddRequestIdFlag(app, command.request_id);
  AddServiceFlags(app, command.flags, OutputChoice::kJsonYaml);
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) return *exit_code;
  return Submit(command);
}

}  // namespace retort
