#include "worker/worker_command.h"

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "core/base/command_line.h"
#include "core/base/machine_memory.h"
#include "core/base/version.h"

namespace retort {
namespace {

std::string DefaultOrchestrator() {
  const char* address = std::getenv("RETORT_ORCHESTRATOR");
  return address == nullptr ? "localhost:7077" : address;
}

}  // namespace

std::optional<int> ParseWorkerCommand(const std::vector<std::string>& args, WorkerCommand& command,
                                      std::ostream& out, std::ostream& err) {
  command.orchestrator = DefaultOrchestrator();
  command.memory_bytes = MachineMemoryBytes();
  std::vector<std::string> roots;
  CLI::App app;
  DescribeCommand(app, kWorkerName,
                  "Trains the layers that an orchestrator gives it, until it is told to stop.",
                  {"retort-worker --orchestrator 10.0.0.1:7077 --name rack2-7 --root /data"});
  app.set_version_flag("--version", "retort " + std::string(Version()), "Print the version and exit");
  app.add_option("--orchestrator", command.orchestrator,
                 "Where the orchestrator serves (default: $RETORT_ORCHESTRATOR, else localhost:7077)")
      ->type_name("HOST:PORT");
  app.add_option("--name", command.name, "This worker's name, unique in the cluster")->required();
  app.add_option(
         "--host", command.host,
         "An address of this machine under which other workers reach it (default: the one that leads to the "
         "orchestrator)")
      ->type_name("ADDRESS");
  app.add_option("--memory", command.memory_bytes, "What a slice may take (default: all of this machine's)")
      ->type_name("BYTES")
      ->check(CLI::PositiveNumber);
  app.add_option("--grace", command.grace_seconds,
                 "After SIGTERM save and leave within this time (default: 25)")
      ->type_name("SECONDS")
      ->check(CLI::Range(1, 86'400));
  app.add_option("--root", roots, "Look for the files of jobs here; repeatable")
      ->type_name("DIR")
      ->check(CLI::ExistingDirectory)
      ->allow_extra_args(false);
  app.add_option("--threads", command.threads, "Compute threads (default: all cores)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  app.add_option(
         "--share-weights", command.weights_directory,
         "Keep float32 copies of teachers here, which all workers of this machine that name it have in "
         "memory once (default: each has its own)")
      ->type_name("DIR");
  const std::optional<int> exit_code = ParseCommand(app, args, out, err);
  command.roots.assign(roots.begin(), roots.end());
  return exit_code;
}

}  // namespace retort
