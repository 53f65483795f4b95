#include "orchestrator/service/upload_call.h"

#include "core/rpc/status.h"

namespace retort::orchestrator {

UploadCall::UploadCall(Coordinator& coordinator, WorkPool& pool, Slots& slots,
                       grpc::CallbackServerContext* context)
    : coordinator_(coordinator), pool_(pool), slots_(slots), context_(context) {
  slots_.Acquire([this] { StartRead(&message_); });
}

void UploadCall::OnReadDone(bool ok) {
  pool_.Add([this, ok] {
    const absl::Status status = ok ? Take() : TakeEnd();
    if (ok && status.ok()) {
      StartRead(&message_);
    } else {
      Finish(ToGrpc(status));
    }
  });
}

absl::Status UploadCall::Take() {
  if (!has_header_) {
    if (!message_.has_header())
      return absl::InvalidArgumentError("UploadChunks: the first message is no header");
    header_ = message_.header();
    has_header_ = true;
    return coordinator_.OpenUpload(header_);
  }
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
  slots_.Release();
  delete this;
}

}  // namespace retort::orchestrator
