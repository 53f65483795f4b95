#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "absl/strings/match.h"
#include "cli/service_flags.h"
#include "cli/show/plan_table.h"
#include "cli/verbs.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/status_macros.h"
#include "core/config/job_file.h"
#include "core/config/teacher_shape.h"

namespace retort {
namespace {

namespace fs = std::filesystem;

constexpr char kName[] = "retort plan";

struct PlanCommand {
  std::string subject;
  std::vector<std::string> roots;
  ServiceFlags flags;
};

bool IsJobFile(const std::string& subject) {
  std::error_code error;
  return absl::EndsWith(subject, ".yaml") || absl::EndsWith(subject, ".yml") ||
         subject.find('/') != std::string::npos || fs::exists(subject, error);
}

absl::StatusOr<v1::PlanJob> ReadPlanJob(const PlanCommand& command) {
  v1::PlanJob plan;
  ASSIGN_OR_RETURN(*plan.mutable_job(), LoadJobAlone(command.subject));
  std::vector<fs::path> roots = {fs::absolute(command.subject).parent_path()};
  roots.insert(roots.end(), command.roots.begin(), command.roots.end());
  ASSIGN_OR_RETURN(const fs::path teacher, ResolvePath(plan.job().teacher().path(), roots));
  ASSIGN_OR_RETURN(*plan.mutable_shape(), ReadTeacherShape(teacher));
  return plan;
}

absl::Status Plan(const PlanCommand& command) {
  v1::PlanRequest request;
  if (IsJobFile(command.subject)) {
    ASSIGN_OR_RETURN(*request.mutable_job(), ReadPlanJob(command));
  } else {
    *request.mutable_run() = ParseRunRef(command.subject);
  }
  ASSIGN_OR_RETURN(Orchestrator orchestrator, Connect(command.flags));
  ASSIGN_OR_RETURN(const v1::PlanReply reply, orchestrator.Call(&v1::RunService::Stub::Plan, request));
  PrintReply(command.flags, reply, RenderPlanReply(reply));
  return absl::OkStatus();
}

}  // namespace

int PlanVerb(const std::vector<std::string>& args) {
  PlanCommand command;
  CLI::App app;
  DescribeCommand(
      app, kName, "Shows what a job would do, or what is left of a run, on the workers that are there now.",
      {"retort plan job.yaml", "retort plan job.yaml --root /data", "retort plan smollm2-hybrid"});
  app.add_option("JOB.yaml|RUN", command.subject, "A job file, or a run's name or id")->required();
  app.add_option("--root", command.roots,
                 "Look for the job's teacher here too, after the job file's directory; repeatable")
      ->type_name("DIR")
      ->allow_extra_args(false);
  AddServiceFlags(app, command.flags, OutputChoice::kJsonYaml);
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) return *exit_code;
  const absl::Status status = Plan(command);
  return status.ok() ? kExitOk : ReportServiceError(kName, status, command.flags);
}

}  // namespace retort
