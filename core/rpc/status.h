// Our statuses on the wire: the codes are the same numbers, docs/protocol.md says what each asks for.
// Thread-safe.
#pragma once

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace retort {

// A message longer than 4,096 bytes is cut: it travels in an HTTP/2 header.
grpc::Status ToGrpc(const absl::Status& status);

absl::Status FromGrpc(const grpc::Status& status);

}  // namespace retort
