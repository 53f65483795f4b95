// How copies of layers become a publish's messages. Pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "retort/v1/worker_service.pb.h"
#include "worker/agent/slice_work.h"

namespace retort {

// With the tensors' digests: reads every byte.
std::vector<v1::LayerCheckpoint> DescribeLayers(const std::vector<SavedLayer>& layers);

// The bytes of the tensors that an orchestrator misses, chunk by chunk in the protocol's order.
class ChunkSequence {
 public:
  // `layers` outlives this object; `missing` names tensors in it.
  ChunkSequence(const std::vector<SavedLayer>& layers, const std::vector<v1::TensorIndex>& missing);

  // Into `chunk`; false: there is no further one.
  bool Next(v1::TensorChunk& chunk);

  // Of all chunks together.
  uint64_t bytes() const { return bytes_; }

 private:
  std::vector<const std::string*> tensors_;
  uint64_t bytes_ = 0;
  uint32_t index_ = 0;
  uint64_t offset_bytes_ = 0;
};

}  // namespace retort
