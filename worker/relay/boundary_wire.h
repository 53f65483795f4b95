// A boundary's tensor as the messages of activation_service.proto. Thread-safe functions.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "retort/v1/activation_service.pb.h"

namespace retort {

// What both ends of a Pull have to agree on.
struct BoundaryHead {
  v1::BatchRef batch;
  std::string teacher_sha256;
};

// "matrix_orientation, step 12, micro-batch 0, boundary 4 of run 3".
std::string BatchText(const v1::BatchRef& batch);

// The float32 tensor [B, T, E] in chunks; `write` says whether there is somebody who reads on. Returns false
// when there was not.
bool SendBoundary(const BoundaryHead& head, const at::Tensor& hidden_BTE,
                  const std::function<bool(const v1::PullReply&)>& write);

// The tensor while its chunks come. Not thread-safe.
class BoundaryAssembly {
 public:
  // Of what was asked for: another batch, teacher, type or shape is refused.
  BoundaryAssembly(BoundaryHead head, std::vector<int64_t> shape);

  // DATA_LOSS: a wrong checksum, or not what was asked for; the message says which and where.
  absl::Status Add(const v1::PullReply& reply);
  // DATA_LOSS when something is missing. In memory of its own, aligned as all of LibTorch's.
  absl::StatusOr<at::Tensor> Finish() const;

 private:
  const BoundaryHead head_;
  const at::Tensor hidden_BTE_;
  uint64_t received_bytes_ = 0;
};

}  // namespace retort
