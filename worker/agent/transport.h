// The agent's calls over gRPC, one at a time each, with docs/protocol.md's deadlines. Another thread may end
// a call by its context's TryCancel: CANCELLED. Thread-safe.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/client_context.h"
#include "retort/v1/worker_service.grpc.pb.h"
#include "worker/agent/orders.h"

namespace retort {

std::pair<absl::Status, AgentReply> MakeCall(grpc::ClientContext& context, v1::WorkerService::Stub& stub,
                                             const AgentCall& call);

// One FetchCheckpoint stream, checked for the identity. `on_message` is called after each message. NOT_FOUND
// is ABORTED here: the worker lacks no input, its registration or lease is gone.
absl::StatusOr<SavedLayer> FetchCheckpoint(grpc::ClientContext& context, v1::WorkerService::Stub& stub,
                                           const v1::FetchCheckpointRequest& request,
                                           const std::string& identity_sha256,
                                           const std::function<void()>& on_message);

}  // namespace retort
