// What every verb that talks to an orchestrator has in common: its flags, its connection, its errors.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "cli/client/orchestrator.h"
#include "google/protobuf/message.h"
#include "retort/v1/run_service.pb.h"

namespace CLI {
class App;
}

namespace retort {

enum class OutputFormat { kText, kWide, kJson, kYaml };
enum class OutputChoice { kJsonYaml, kWideJsonYaml, kJson };  // beside text

struct ServiceFlags {
  std::string orchestrator;  // empty: see OrchestratorAddress
  std::optional<double> timeout_seconds;
  OutputFormat output = OutputFormat::kText;

  double patience_seconds() const { return timeout_seconds.value_or(kAnswerSeconds); }
  bool for_programs() const { return output == OutputFormat::kJson || output == OutputFormat::kYaml; }
};

// --orchestrator, --timeout and -o. `flags` outlives the parsing.
void AddServiceFlags(CLI::App& app, ServiceFlags& flags, OutputChoice choice);

// --request-id.
void AddRequestIdFlag(CLI::App& app, std::string& request_id);

absl::StatusOr<Orchestrator> Connect(const ServiceFlags& flags);

// A number is a run's id, everything else a name.
v1::RunRef ParseRunRef(const std::string& text);

// `message` as -o asks, and `text` when it asks for text, on the standard output.
void PrintReply(const ServiceFlags& flags, const google::protobuf::Message& message, const std::string& text);

// ReportError, as JSON with -o json. Returns the exit code.
int ReportServiceError(const std::string& command, const absl::Status& status, const ServiceFlags& flags,
                       const std::string& request_id = "");

// The same for a run that did not end as was waited for, whose code is the run's.
int ReportRunEnd(const std::string& command, const absl::Status& status, int exit_code,
                 const ServiceFlags& flags);

// "90", "90s", "1m30s", "2h" in seconds, not negative.
absl::StatusOr<double> ParseSeconds(const std::string& text);

}  // namespace retort
