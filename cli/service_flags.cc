#include "cli/service_flags.h"

#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "cli/show/message_text.h"
#include "cli/show/words.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/rpc/address.h"

namespace retort {
namespace {

std::map<std::string, OutputFormat> Formats(OutputChoice choice) {
  std::map<std::string, OutputFormat> formats = {{"text", OutputFormat::kText},
                                                 {"json", OutputFormat::kJson}};
  if (choice != OutputChoice::kJson) formats["yaml"] = OutputFormat::kYaml;
  if (choice == OutputChoice::kWideJsonYaml) formats["wide"] = OutputFormat::kWide;
  return formats;
}

const char* FormatsText(OutputChoice choice) {
  switch (choice) {
    case OutputChoice::kJson:
      return "text (default) or json";
    case OutputChoice::kJsonYaml:
      return "text (default), json or yaml";
    case OutputChoice::kWideJsonYaml:
      return "text (default), wide, json or yaml";
  }
  return "";
}

}  // namespace

void AddServiceFlags(CLI::App& app, ServiceFlags& flags, OutputChoice choice) {
  app.add_option("--orchestrator", flags.orchestrator,
                 "The orchestrator, HOST:PORT (default: $RETORT_ORCHESTRATOR, else localhost:7077)")
      ->type_name("ADDRESS");
  app.add_option_function<std::string>(
         "--timeout",
         [&flags](const std::string& text) {
           const absl::StatusOr<double> seconds = ParseSeconds(text);
           if (!seconds.ok())
             throw CLI::ValidationError("--timeout", std::string(seconds.status().message()));
           flags.timeout_seconds = *seconds;
         },
         "Give up after this long, such as 90s or 10m (default: 30s without an answer)")
      ->type_name("TIME");
  app.add_option_function<std::string>(
         "-o,--output",
         [&flags, choice](const std::string& text) { flags.output = Formats(choice).at(text); },
         FormatsText(choice))
      ->type_name("FORMAT")
      ->check(CLI::IsMember(Formats(choice)));
}

void AddRequestIdFlag(CLI::App& app, std::string& request_id) {
  app.add_option("--request-id", request_id,
                 "Repeat the request of this id: what it did is not done twice (default: drawn anew)")
      ->type_name("ID")
      ->check([](const std::string& id) { return id.empty() ? "is empty" : ""; });
}

absl::StatusOr<Orchestrator> Connect(const ServiceFlags& flags) {
  const std::string address = OrchestratorAddress(flags.orchestrator, getenv("RETORT_ORCHESTRATOR"));
  const absl::Status status = CheckAddress(address);
  if (!status.ok()) {
    const char* source = flags.orchestrator.empty() ? "RETORT_ORCHESTRATOR" : "--orchestrator";
    return absl::InvalidArgumentError(absl::StrCat(source, ": ", status.message()));
  }
  if (flags.for_programs()) return Orchestrator::Connect(address, flags.patience_seconds());
  return Orchestrator::Connect(address, flags.patience_seconds(), [address, flags](const std::string& why) {
    std::cerr << "retort: no answer from the orchestrator at " << address << " yet: " << why
              << "; trying for " << FormatPreciseDuration(flags.patience_seconds()) << "\n";
  });
}

v1::RunRef ParseRunRef(const std::string& text) {
  v1::RunRef ref;
  uint64_t id = 0;
  if (std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
      absl::SimpleAtoi(text, &id)) {
    ref.set_id(id);
  } else {
    ref.set_name(text);
  }
  return ref;
}

void PrintReply(const ServiceFlags& flags, const google::protobuf::Message& message,
                const std::string& text) {
  switch (flags.output) {
    case OutputFormat::kJson:
      std::cout << MessageJson(message);
      return;
    case OutputFormat::kYaml:
      std::cout << MessageYaml(message);
      return;
    case OutputFormat::kText:
    case OutputFormat::kWide:
      std::cout << text;
  }
}

int ReportServiceError(const std::string& command, const absl::Status& status, const ServiceFlags& flags,
                       const std::string& request_id) {
  if (flags.output != OutputFormat::kJson) return ReportError(command, status, std::cerr);
  std::cerr << ErrorJsonLine(status, ExitCode(status), request_id);
  return ExitCode(status);
}

int ReportRunEnd(const std::string& command, const absl::Status& status, int exit_code,
                 const ServiceFlags& flags) {
  if (flags.output == OutputFormat::kJson) {
    std::cerr << ErrorJsonLine(status, exit_code, "");
  } else {
    ReportError(command, status, std::cerr);
  }
  return exit_code;
}

absl::StatusOr<double> ParseSeconds(const std::string& text) {
  double seconds = 0;
  absl::Duration duration;
  if (absl::SimpleAtod(text, &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is no time; write 90s, 10m or 1h30m"));
  }
  if (duration < absl::ZeroDuration() || duration == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is no time from 0 on; write 90s, 10m or 1h30m"));
  }
  return absl::ToDoubleSeconds(duration);
}

}  // namespace retort
