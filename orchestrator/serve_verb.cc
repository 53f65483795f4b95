#include "orchestrator/serve_verb.h"

#include <signal.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <thread>

#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/files.h"
#include "core/base/interrupt.h"
#include "core/base/status_macros.h"
#include "orchestrator/service/server.h"

namespace retort {
namespace {

constexpr char kServe[] = "retort-orchestrator serve";

struct Command {
  orchestrator::ServerOptions server;
  std::filesystem::path address_file;  // empty: none
};

std::optional<int> Parse(const std::vector<std::string>& args, std::ostream& out, std::ostream& err,
                         Command& command) {
  CLI::App app;
  DescribeCommand(app, kServe,
                  "Keeps runs, grants their work to workers, and answers users, until SIGTERM or Ctrl-C.",
                  {"retort-orchestrator serve --state /var/lib/retort --listen 0.0.0.0:7077",
                   "retort-orchestrator serve --state state --listen 127.0.0.1:0 --address-file address"});
  app.add_option("--state", command.server.state_directory, "The state directory; made if it does not exist")
      ->type_name("DIR")
      ->required();
  command.server.listen = "127.0.0.1:7077";
  app.add_option("--listen", command.server.listen,
                 "Where to listen; port 0 takes a free one (default: 127.0.0.1:7077)")
      ->type_name("HOST:PORT");
  app.add_option("--address-file", command.address_file, "Write HOST:PORT here once it serves")
      ->type_name("FILE");
  const std::map<std::string, orchestrator::RelayPolicy> policies = {
      {"auto", orchestrator::RelayPolicy::kAuto},
      {"always", orchestrator::RelayPolicy::kAlways},
      {"never", orchestrator::RelayPolicy::kNever}};
  app.add_option("--relay", command.server.scheduling.relay,
                 "Whether workers pull the teacher's activations from each other or recompute them: auto, "
                 "always or never (default: auto, as is faster)")
      ->type_name("POLICY")
      ->transform(CLI::CheckedTransformer(policies));
  app.add_flag("--reflection", command.server.reflection, "Let tools like grpcurl ask for the services");
  return ParseCommand(app, args, out, err);
}

// Each worker has two connections; the usual soft limit of 1,024 descriptors would end at 500 workers.
void RaiseDescriptorLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

absl::Status ServeUntilInterrupted(const Command& command, const std::atomic<bool>& stop) {
  ASSIGN_OR_RETURN(const std::unique_ptr<orchestrator::Server> server,
                   orchestrator::Server::Start(command.server));
  if (!command.address_file.empty()) {
    RETURN_IF_ERROR(WriteFileAtomically(command.address_file, server->address()));
  }
  while (!stop) {
    RETURN_IF_ERROR(server->failure());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return absl::OkStatus();
}

}  // namespace

int Serve(const std::vector<std::string>& args, std::ostream& out, std::ostream& err) {
  Command command;
  if (const std::optional<int> exit_code = Parse(args, out, err, command)) return *exit_code;
  const std::atomic<bool>& stop = InstallInterruptHandler();
  signal(SIGPIPE, SIG_IGN);  // nobody has to read the log
  RaiseDescriptorLimit();
  command.server.log = &err;
  const absl::Status status = ServeUntilInterrupted(command, stop);
  return status.ok() ? kExitOk : ReportError(kServe, status, err);
}

}  // namespace retort
