// The agent at work in a process: threads that carry out what it orders, and gRPC.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "core/base/log.h"
#include "retort/v1/worker_service.pb.h"
#include "worker/agent/slice_work.h"

namespace retort {

struct AgentOptions {
  std::string address;    // of the orchestrator, HOST:PORT
  std::string host = {};  // this machine's address for other workers; empty: looked for when it is needed
  std::string name;       // the worker's
  std::string build_version;
  v1::Capabilities capabilities;
  std::string activation_address = {};  // as in RegisterRequest
  // Gets what each verdict under the token says of the relay, on a thread of the agent's.
  std::function<void(uint64_t token, const v1::RelayOrders& orders)> on_relay_orders =
      [](uint64_t, const v1::RelayOrders&) {};
  int64_t grace_ms = 25'000;  // from `stop` to the end
};

// Works until `stop` is set, the worker is drained, or the orchestrator will not have it. The workshop is
// used from one thread at a time, another than the caller's. Lines go to `log`; what is in `shipped`, one of
// its sinks, is sent to the orchestrator.
//   OK                 it has left
//   FAILED_PRECONDITION, INVALID_ARGUMENT, UNIMPLEMENTED  the orchestrator refuses it; the message says why
//   DEADLINE_EXCEEDED  the grace was over before the orchestrator heard the good-bye
absl::Status RunAgent(const AgentOptions& options, Workshop& workshop, Log& log, LogBuffer& shipped,
                      const std::atomic<bool>& stop);

}  // namespace retort
