// One unary call, with a deadline always: gRPC has none by default. The values are those of docs/protocol.md,
// "Deadlines". Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>

#include "absl/status/statusor.h"
#include "core/rpc/status.h"
#include "grpcpp/client_context.h"

namespace retort {

inline constexpr std::chrono::seconds kCallDeadline{10};
inline constexpr std::chrono::seconds kLeaseDeadline{30};
inline constexpr std::chrono::seconds kSyncedWriteDeadline{30};  // BeginPublish, CommitPublish, Complete
// Of streams without a deadline that are to give something all the time once they have given something:
// FetchCheckpoint, Download. Before it they may wait for their turn.
inline constexpr std::chrono::seconds kStreamSilence{60};

// An upload may wait for its turn for most of the five minutes.
inline std::chrono::milliseconds UploadDeadline(uint64_t bytes) {
  return std::chrono::seconds(300) + std::chrono::milliseconds(bytes * 1000 / (uint64_t{4} << 20));
}

// Call(context, *stub, &v1::RunService::Stub::Get, request, kCallDeadline). `context` is fresh; another
// thread may end the call by its TryCancel (CANCELLED).
template <class Stub, class Request, class Reply>
absl::StatusOr<Reply> Call(grpc::ClientContext& context, Stub& stub,
                           grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                           const Request& request, std::chrono::milliseconds deadline) {
  context.set_deadline(std::chrono::system_clock::now() + deadline);
  Reply reply;
  const absl::Status status = FromGrpc((stub.*method)(&context, request, &reply));
  if (!status.ok()) return status;
  return reply;
}

// The same for a call that nobody ends early.
template <class Stub, class Request, class Reply>
absl::StatusOr<Reply> Call(Stub& stub,
                           grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                           const Request& request, std::chrono::milliseconds deadline) {
  grpc::ClientContext context;
  return Call(context, stub, method, request, deadline);
}

}  // namespace retort
