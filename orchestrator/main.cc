// retort-orchestrator: keeps runs, grants their work to workers, and owns the store; and verbs on a store
// that no server has open.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/standard_streams.h"
#include "core/store/backup.h"
#include "core/store/store.h"
#include "core/store/verify.h"
#include "orchestrator/serve_verb.h"

namespace retort {
namespace {

using Args = std::vector<std::string>;

constexpr char kName[] = "retort-orchestrator";
constexpr char kVerify[] = "retort-orchestrator verify";
constexpr char kBackup[] = "retort-orchestrator backup";
constexpr char kRestore[] = "retort-orchestrator restore";

void AddDirectory(CLI::App& app, const char* flag, const char* purpose, std::filesystem::path& directory) {
  app.add_option(flag, directory, purpose)->type_name("DIR")->required();
}

int Verify(const Args& args) {
  std::filesystem::path state;
  CLI::App app;
  DescribeCommand(app, kVerify,
                  "Reads every record and every checksum of a store or a backup; changes nothing.",
                  {"retort-orchestrator verify --state /var/lib/retort"});
  AddDirectory(app, "--state", "The state directory, or a backup", state);
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) return *exit_code;
  const absl::StatusOr<VerifyReport> report = VerifyStore(state);
  if (!report.ok()) return ReportError(kVerify, report.status(), std::cerr);
  std::cout << RenderVerify(*report);
  return report->status().ok() ? kExitOk : ReportError(kVerify, report->status(), std::cerr);
}

int BackUp(const Args& args) {
  std::filesystem::path state, target;
  CLI::App app;
  DescribeCommand(app, kBackup,
                  "Copies a store as it is. On the same file system large files are hard links, which a "
                  "damaged disk damages too.",
                  {"retort-orchestrator backup --state /var/lib/retort --to /backup/retort-monday"});
  AddDirectory(app, "--state", "The state directory", state);
  AddDirectory(app, "--to", "Where the backup goes; empty or not there", target);
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) return *exit_code;
  absl::StatusOr<std::unique_ptr<Store>> store = Store::OpenExisting(state);
  const absl::Status status = store.ok() ? BackUpStore(**store, target) : store.status();
  if (!status.ok()) return ReportError(kBackup, status, std::cerr);
  std::cout << "backed up to " << target.string() << "\n";
  return kExitOk;
}

int Restore(const Args& args) {
  std::filesystem::path state, backup;
  CLI::App app;
  DescribeCommand(app, kRestore, "Makes a store out of a backup, which stays as it is.",
                  {"retort-orchestrator restore --state /var/lib/retort --from /backup/retort-monday"});
  AddDirectory(app, "--state", "Where the store goes; empty or not there", state);
  AddDirectory(app, "--from", "The backup", backup);
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) return *exit_code;
  const absl::Status status = RestoreStore(backup, state);
  if (!status.ok()) return ReportError(kRestore, status, std::cerr);
  std::cout << "restored to " << state.string() << "\n";
  return kExitOk;
}

int Main(const Args& args) {
  const VerbSet verbs = {
      kName,
      "Keeps runs and grants their work to workers; looks after the store.",
      {"retort-orchestrator serve --state /var/lib/retort --listen 0.0.0.0:7077",
       "retort-orchestrator verify --state /var/lib/retort",
       "retort-orchestrator backup --state /var/lib/retort --to /backup/retort-monday",
       "retort-orchestrator restore --state /var/lib/retort --from /backup/retort-monday"},
      {{"backup", "Copy a store", BackUp},
       {"restore", "Make a store out of a backup", Restore},
       {"serve", "Be the orchestrator",
        [](const Args& verb_args) { return Serve(verb_args, std::cout, std::cerr); }},
       {"verify", "Read everything and report damage", Verify}},
  };
  return DispatchVerb(verbs, args, std::cout, std::cerr);
}

}  // namespace
}  // namespace retort

int main(int argc, char** argv) {
  retort::OccupyClosedStandardStreams();
  const int exit_code = retort::Main(retort::Arguments(argc, argv));
  return retort::FinishOutput(retort::kName, exit_code, std::cout, std::cerr);
}
