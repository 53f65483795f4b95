// A checkpoint put together from the messages of a FetchCheckpoint stream, every byte checked. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/sha256.h"
#include "retort/v1/worker_service.pb.h"
#include "worker/agent/slice_work.h"

namespace retort {

class CheckpointAssembly {
 public:
  // `identity_sha256`: the slice's.
  CheckpointAssembly(v1::CheckpointRef checkpoint, std::string identity_sha256)
      : checkpoint_(std::move(checkpoint)), identity_sha256_(std::move(identity_sha256)) {}

  // The stream's next message. After an error the stream is of no use.
  //   INVALID_ARGUMENT  the checkpoint has another identity: it is not of this job, these inputs or numerics
  //   DATA_LOSS         a checksum or a digest is wrong
  //   UNKNOWN           the stream breaks a rule of the protocol
  absl::Status Add(v1::FetchCheckpointReply message);

  // After the stream has ended with OK. UNKNOWN when something is missing.
  absl::StatusOr<SavedLayer> Finish();

 private:
  absl::Status Begin(const v1::CheckpointInfo& info);
  absl::Status Append(const v1::TensorChunk& chunk);
  absl::Status EndTensor();
  absl::Status Wrong(absl::StatusCode code, const std::string& what) const;

  const v1::CheckpointRef checkpoint_;
  const std::string identity_sha256_;
  std::optional<v1::CheckpointInfo> info_;
  SavedLayer layer_;
  int index_ = 0;  // of the tensor whose bytes come next
  uint64_t tensor_bytes_ = 0;
  std::optional<Sha256> sha256_;  // of its bytes so far
};

}  // namespace retort
