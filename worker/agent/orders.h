// What the agent wants done, and what comes of it. Whoever drives the agent (agent_process.h, the simulator)
// carries out one call, one heartbeat and one piece of work at a time, each beside the others.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "retort/v1/worker_service.pb.h"
#include "worker/agent/slice_work.h"

namespace retort {

// Copies of layers on their way to the orchestrator; training goes on beside them.
using Saved = std::shared_ptr<const std::vector<SavedLayer>>;

// No call but work for whoever makes them: DescribeLayers (saved.h), which is too long for a lock.
struct DescribeOrder {
  Saved saved;
};

// UploadChunks: the header, then the missing tensors' chunks (saved.h).
struct UploadOrder {
  v1::UploadHeader header;
  Saved saved;
  std::vector<v1::TensorIndex> missing;
};

using AgentCall = std::variant<v1::RegisterRequest, v1::LeaseRequest, DescribeOrder, v1::BeginPublishRequest,
                               UploadOrder, v1::CommitPublishRequest, v1::CompleteRequest, v1::FailRequest,
                               v1::ReleaseLeaseRequest, v1::LeaveRequest>;

// Of the calls whose reply says something.
using AgentReply = std::variant<std::monostate, v1::RegisterReply, v1::LeaseReply,
                                std::vector<v1::LayerCheckpoint>, v1::BeginPublishReply>;

struct PrepareOrder {
  v1::Slice slice;
};
// Makes the SliceWork that the later orders mean.
struct LoadOrder {
  v1::Slice slice;
};
struct StepOrder {};
// Copy, then Drop; either may be empty.
struct CopyOrder {
  std::vector<uint32_t> copy;
  std::vector<uint32_t> drop;
};
struct MakeResultOrder {};
// Ends the SliceWork, if there is one.
struct DiscardOrder {};

using Work = std::variant<PrepareOrder, LoadOrder, StepOrder, CopyOrder, MakeResultOrder, DiscardOrder>;

struct WorkEnd {
  absl::Status status;
  std::variant<std::monostate, v1::PreparedRun, StepReport, std::vector<SavedLayer>> result;
  std::vector<uint32_t> failed_layers;  // after a Step's error
};

// A sentence for the log.
struct Note {
  v1::LogLevel level;
  std::string text;
  uint64_t run_id = 0;
  v1::Stage stage = v1::STAGE_UNSPECIFIED;
  uint64_t token = 0;
  uint64_t step = 0;
};

}  // namespace retort
