#include "orchestrator/service/upload_call.h"

#include "core/rpc/status.h"

namespace retort::orchestrator {

UploadCall::UploadCall(Coordinator& coordinator, WorkPool& pool, Slots& slots,
                       grpc::CallbackServerContext* context)
    : coordinator_(coordinator), pool_(pool), slots_(slots), context_(context) {
  StartRead(&message_);
}

void UploadCall::OnReadDone(bool ok) {
  pool_.Add([this, ok] {
    const bool is_header = ok && !has_header_;
    const absl::Status status = is_header ? TakeHeader() : ok ? TakeChunk() : TakeEnd();
    if (!ok || !status.ok()) return Finish(ToGrpc(status));
    if (!is_header) return StartRead(&message_);
    slots_.Acquire([this] { pool_.Add([this] { Start(); }); });
  });
}

void UploadCall::Start() {
  has_slot_ = true;
  const absl::Status status = coordinator_.StartUpload(header_);
  if (!status.ok()) return Finish(ToGrpc(status));
  StartRead(&message_);
}

absl::Status UploadCall::TakeHeader() {
  if (!message_.has_header()) {
    return absl::InvalidArgumentError("UploadChunks: the first message is no header");
  }
  header_ = message_.header();
  has_header_ = true;
  return coordinator_.OpenUpload(header_);
}

absl::Status UploadCall::TakeChunk() {
  if (!message_.has_chunk()) {
    coordinator_.DropPublish(header_);
    return absl::InvalidArgumentError("UploadChunks: a message after the first is no chunk");
  }
  return coordinator_.AppendChunk(header_, message_.chunk());
}

absl::Status UploadCall::TakeEnd() {
  if (!has_header_) return absl::InvalidArgumentError("UploadChunks: the stream has no header");
  if (context_->IsCancelled()) {
    coordinator_.DropPublish(header_);
    return absl::CancelledError("UploadChunks: the stream broke");
  }
  return coordinator_.FinishUpload(header_);
}

void UploadCall::OnDone() {
  if (has_slot_) slots_.Release();
  delete this;
}

}  // namespace retort::orchestrator
