// The limits of docs/protocol.md that a request can break by itself. INVALID_ARGUMENT names the field and the
// limit. What needs the State is orchestrator/state's to check. Thread-safe.
#pragma once

#include "absl/status/status.h"
#include "retort/v1/run_service.pb.h"
#include "retort/v1/worker_service.pb.h"

namespace retort::orchestrator {

absl::Status CheckRequest(const v1::RegisterRequest& request);
absl::Status CheckRequest(const v1::HeartbeatRequest& request);
// Also that tensors' names ascend and a result's are relative paths that stay in their directory.
absl::Status CheckRequest(const v1::BeginPublishRequest& request);
absl::Status CheckRequest(const v1::FetchCheckpointRequest& request);
absl::Status CheckRequest(const v1::CompleteRequest& request);
absl::Status CheckRequest(const v1::ListRequest& request);
absl::Status CheckRequest(const v1::ShipLogsRequest& request);

}  // namespace retort::orchestrator
