#include "orchestrator/service/worker_service.h"

#include <memory>
#include <optional>
#include <utility>

#include "core/base/status_macros.h"
#include "core/rpc/status.h"
#include "orchestrator/coordinator/request_rules.h"
#include "orchestrator/service/unary.h"
#include "orchestrator/service/upload_call.h"

namespace retort::orchestrator {
namespace {

// A checkpoint as FetchCheckpoint streams it: opened by the first call, described by the first reply.
class CheckpointSource {
 public:
  CheckpointSource(Coordinator& coordinator, v1::FetchCheckpointRequest request)
      : coordinator_(coordinator), request_(std::move(request)) {}

  absl::StatusOr<Next> operator()(v1::FetchCheckpointReply& reply) {
    if (reader_ == nullptr) {
      ASSIGN_OR_RETURN(reader_, coordinator_.FetchCheckpoint(request_));
      v1::CheckpointInfo& info = *reply.mutable_info();
      info.set_identity_sha256(reader_->manifest().identity_sha256());
      info.set_step(reader_->manifest().step());
      for (const v1::StoredTensor& tensor : reader_->tensors()) *info.add_tensors() = tensor.info();
      return Next::kReply;
    }
    ASSIGN_OR_RETURN(const std::optional<CheckpointReader::Piece> piece, reader_->Next());
    if (!piece) return Next::kEnd;
    v1::TensorChunk& chunk = *reply.mutable_chunk();
    chunk.set_index(piece->index);
    chunk.set_offset_bytes(piece->offset_bytes);
    chunk.set_crc32c(piece->crc32c);
    chunk.set_data(piece->data.data(), piece->data.size());
    return Next::kReply;
  }

 private:
  Coordinator& coordinator_;
  const v1::FetchCheckpointRequest request_;
  std::unique_ptr<CheckpointReader> reader_;
};

}  // namespace

grpc::ServerUnaryReactor* WorkerService::Register(grpc::CallbackServerContext* context,
                                                  const v1::RegisterRequest* request,
                                                  v1::RegisterReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this] { return parts_.coordinator.Register(*request); });
}

grpc::ServerUnaryReactor* WorkerService::Lease(grpc::CallbackServerContext* context,
                                               const v1::LeaseRequest* request, v1::LeaseReply* reply) {
  return parts_.leases.Take(context, request, reply);
}

grpc::ServerUnaryReactor* WorkerService::Heartbeat(grpc::CallbackServerContext* context,
                                                   const v1::HeartbeatRequest* request,
                                                   v1::HeartbeatReply* reply) {
  std::optional<absl::StatusOr<v1::HeartbeatReply>> answer = parts_.coordinator.TryHeartbeat(*request);
  if (!answer) {
    return AnswerOn(parts_.calls, context, reply,
                    [=, this] { return parts_.coordinator.Heartbeat(*request); });
  }
  if (answer->ok()) *reply = **std::move(answer);
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(answer->status()));
  return reactor;
}

grpc::ServerUnaryReactor* WorkerService::BeginPublish(grpc::CallbackServerContext* context,
                                                      const v1::BeginPublishRequest* request,
                                                      v1::BeginPublishReply* reply) {
  return AnswerOn(parts_.calls, context, reply,
                  [=, this] { return parts_.coordinator.BeginPublish(*request); });
}

grpc::ServerReadReactor<v1::UploadChunksRequest>* WorkerService::UploadChunks(
    grpc::CallbackServerContext* context, v1::UploadChunksReply*) {
  return new UploadCall(parts_.coordinator, parts_.bytes, parts_.uploads, context);
}

grpc::ServerUnaryReactor* WorkerService::CommitPublish(grpc::CallbackServerContext* context,
                                                       const v1::CommitPublishRequest* request,
                                                       v1::CommitPublishReply* reply) {
  return AnswerOn(parts_.calls, context, reply,
                  [=, this] { return parts_.coordinator.CommitPublish(*request); });
}

grpc::ServerWriteReactor<v1::FetchCheckpointReply>* WorkerService::FetchCheckpoint(
    grpc::CallbackServerContext*, const v1::FetchCheckpointRequest* request) {
  const auto source = std::make_shared<CheckpointSource>(parts_.coordinator, *request);
  return new ReplyStream<v1::FetchCheckpointReply>(
      parts_.streams, parts_.bytes, &parts_.fetches,
      [source](v1::FetchCheckpointReply& reply) { return (*source)(reply); });
}

grpc::ServerUnaryReactor* WorkerService::Complete(grpc::CallbackServerContext* context,
                                                  const v1::CompleteRequest* request,
                                                  v1::CompleteReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this] { return parts_.coordinator.Complete(*request); });
}

grpc::ServerUnaryReactor* WorkerService::Fail(grpc::CallbackServerContext* context,
                                              const v1::FailRequest* request, v1::FailReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this] { return parts_.coordinator.Fail(*request); });
}

grpc::ServerUnaryReactor* WorkerService::ReleaseLease(grpc::CallbackServerContext* context,
                                                      const v1::ReleaseLeaseRequest* request,
                                                      v1::ReleaseLeaseReply* reply) {
  return AnswerOn(parts_.calls, context, reply,
                  [=, this] { return parts_.coordinator.ReleaseLease(*request); });
}

grpc::ServerUnaryReactor* WorkerService::Leave(grpc::CallbackServerContext* context,
                                               const v1::LeaveRequest* request, v1::LeaveReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this] { return parts_.coordinator.Leave(*request); });
}

grpc::ServerUnaryReactor* WorkerService::JoinGang(grpc::CallbackServerContext* context,
                                                  const v1::JoinGangRequest* request,
                                                  v1::JoinGangReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this] { return parts_.coordinator.JoinGang(*request); });
}

grpc::ServerUnaryReactor* WorkerService::Rendezvous(grpc::CallbackServerContext* context,
                                                    const v1::RendezvousRequest* request,
                                                    v1::RendezvousReply* reply) {
  return AnswerOn(parts_.calls, context, reply,
                  [=, this] { return parts_.coordinator.Rendezvous(*request); });
}

grpc::ServerUnaryReactor* WorkerService::ShipLogs(grpc::CallbackServerContext* context,
                                                  const v1::ShipLogsRequest* request,
                                                  v1::ShipLogsReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this]() -> absl::StatusOr<v1::ShipLogsReply> {
    RETURN_IF_ERROR(CheckRequest(*request));
    ASSIGN_OR_RETURN(const std::string name,
                     parts_.coordinator.NameOfWorker(request->worker_id(), request->epoch()));
    RETURN_IF_ERROR(parts_.logs.Append(name, *request));
    return v1::ShipLogsReply();
  });
}

}  // namespace retort::orchestrator
