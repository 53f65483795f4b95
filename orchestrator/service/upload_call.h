// UploadChunks: reads the header, waits for a slot, then reads a chunk, appends it to its publish, reads the
// next: one chunk in memory.
#pragma once

#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "orchestrator/coordinator/coordinator.h"
#include "orchestrator/service/slots.h"
#include "orchestrator/service/work_pool.h"

namespace retort::orchestrator {

// Owns itself: deleted when the call is over. What it was given outlives it.
class UploadCall final : public grpc::ServerReadReactor<v1::UploadChunksRequest> {
 public:
  UploadCall(Coordinator& coordinator, WorkPool& pool, Slots& slots, grpc::CallbackServerContext* context);

  void OnReadDone(bool ok) override;
  void OnDone() override;

 private:
  void Start();
  absl::Status TakeHeader();
  absl::Status TakeChunk();
  absl::Status TakeEnd();

  Coordinator& coordinator_;
  WorkPool& pool_;
  Slots& slots_;
  grpc::CallbackServerContext* const context_;
  v1::UploadChunksRequest message_;
  v1::UploadHeader header_;
  bool has_header_ = false;
  bool has_slot_ = false;
};

}  // namespace retort::orchestrator
