// retort-worker: leases work from an orchestrator and trains, until it is told to stop.
#include <signal.h>

#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/clock.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/interrupt.h"
#include "core/base/job_memory.h"
#include "core/base/log.h"
#include "core/base/process.h"
#include "core/base/standard_streams.h"
#include "core/base/version.h"
#include "core/rpc/address.h"
#include "model/ops/vector_math.h"
#include "worker/agent/agent_process.h"
#include "worker/relay/relay.h"
#include "worker/run/numerics_id.h"
#include "worker/run/this_machine.h"
#include "worker/run/torch_workshop.h"
#include "worker/worker_command.h"

namespace retort {
namespace {

// nullptr: this worker recomputes, and those above it do.
std::unique_ptr<Relay> StartRelay(const absl::StatusOr<std::string>& host, Log& log) {
  absl::StatusOr<std::unique_ptr<Relay>> relay =
      host.ok() ? Relay::Start(*host, UseComputeThreads, log) : host.status();
  if (relay.ok()) return *std::move(relay);
  log.Warning(absl::StrCat("gives no activations to other workers: ", relay.status().message()));
  return nullptr;
}

int Work(const WorkerCommand& command) {
  const std::atomic<bool>& stop = InstallInterruptHandler();
  SetComputeThreads(command.threads > 0 ? command.threads
                                        : static_cast<int>(std::thread::hardware_concurrency()));
  LogBuffer shipped;
  Log log(v1::LOG_LEVEL_INFO, UnixMilliseconds, {StreamSink(std::cerr), shipped.Sink()});
  const absl::StatusOr<std::string> host =
      command.host.empty() ? HostTowards(command.orchestrator) : command.host;
  const std::unique_ptr<Relay> relay = StartRelay(host, log);
  const v1::Capabilities capabilities = MeasureCapabilities(command.memory_bytes, command.weights_directory);
  TorchWorkshop workshop({.roots = command.roots,
                          .memory_bytes = command.memory_bytes,
                          .weights_directory = command.weights_directory,
                          .teacher_part = TeacherPart(capabilities)},
                         log, relay.get());
  AgentOptions options;
  options.address = command.orchestrator;
  if (host.ok()) options.host = *host;
  options.name = command.name;
  options.build_version = absl::StrCat(std::string(Version()), "+", NumericsId());
  options.capabilities = capabilities;
  if (relay != nullptr) {
    options.activation_address = relay->address();
    options.on_relay_orders = [&relay](uint64_t token, const v1::RelayOrders& orders) {
      relay->state().TakeOrders(token, orders);
    };
  }
  options.grace_ms = int64_t{1000} * command.grace_seconds;
  const absl::Status end = RunAgent(options, workshop, log, shipped, stop);
  return end.ok() ? kExitOk : ReportError(kWorkerName, end, std::cerr);
}

int Main(const std::vector<std::string>& args) {
  WorkerCommand command;
  if (const std::optional<int> exit_code = ParseWorkerCommand(args, command, std::cout, std::cerr))
    return *exit_code;
  return Work(command);
}

}  // namespace
}  // namespace retort

int main(int argc, char** argv) {
  retort::OccupyClosedStandardStreams();
  retort::EnsureWaitingOfThreads(argv);
  retort::PrepareNumericProcess();
  retort::ChooseVectorMath();
  signal(SIGPIPE, SIG_IGN);  // Gloo writes to ranks that may have gone
  const int exit_code = retort::Main(retort::Arguments(argc, argv));
  return retort::FinishOutput(retort::kWorkerName, exit_code, std::cout, std::cerr);
}
