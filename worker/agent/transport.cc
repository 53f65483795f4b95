#include "worker/agent/transport.h"

#include <chrono>

#include "core/rpc/call.h"
#include "core/rpc/status.h"
#include "worker/agent/checkpoint_assembly.h"
#include "worker/agent/saved.h"

namespace retort {
namespace {

using Stub = v1::WorkerService::Stub;
using End = std::pair<absl::Status, AgentReply>;

class Caller {
 public:
  Caller(grpc::ClientContext& context, Stub& stub) : context_(context), stub_(stub) {}

  End operator()(const v1::RegisterRequest& request) {
    return WithReply(&Stub::Register, request, kCallDeadline);
  }
  End operator()(const v1::LeaseRequest& request) { return WithReply(&Stub::Lease, request, kLeaseDeadline); }
  End operator()(const DescribeOrder& order) { return {absl::OkStatus(), DescribeLayers(*order.saved)}; }
  End operator()(const v1::BeginPublishRequest& request) {
    return WithReply(&Stub::BeginPublish, request, kSyncedWriteDeadline);
  }
  End operator()(const v1::CommitPublishRequest& request) {
    return Plain(&Stub::CommitPublish, request, kSyncedWriteDeadline);
  }
  End operator()(const v1::CompleteRequest& request) {
    return Plain(&Stub::Complete, request, kSyncedWriteDeadline);
  }
  End operator()(const v1::FailRequest& request) { return Plain(&Stub::Fail, request, kCallDeadline); }
  End operator()(const v1::ReleaseLeaseRequest& request) {
    return Plain(&Stub::ReleaseLease, request, kCallDeadline);
  }
  End operator()(const v1::LeaveRequest& request) { return Plain(&Stub::Leave, request, kCallDeadline); }

  End operator()(const UploadOrder& order) {
    ChunkSequence chunks(*order.saved, order.missing);
    context_.set_deadline(std::chrono::system_clock::now() + UploadDeadline(chunks.bytes()));
    v1::UploadChunksReply reply;
    const auto writer = stub_.UploadChunks(&context_, &reply);
    v1::UploadChunksRequest message;
    *message.mutable_header() = order.header;
    bool goes_on = writer->Write(message);  // false: the status says why
    while (goes_on && chunks.Next(*message.mutable_chunk())) goes_on = writer->Write(message);
    if (goes_on) writer->WritesDone();
    return {FromGrpc(writer->Finish()), {}};
  }

 private:
  template <class Request, class Reply>
  End WithReply(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                const Request& request, std::chrono::milliseconds deadline) {
    absl::StatusOr<Reply> reply = Call(context_, stub_, method, request, deadline);
    if (!reply.ok()) return {reply.status(), {}};
    return {absl::OkStatus(), *std::move(reply)};
  }
  template <class Request, class Reply>
  End Plain(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
            const Request& request, std::chrono::milliseconds deadline) {
    return {Call(context_, stub_, method, request, deadline).status(), {}};
  }

  grpc::ClientContext& context_;
  Stub& stub_;
};

}  // namespace

End MakeCall(grpc::ClientContext& context, Stub& stub, const AgentCall& call) {
  return std::visit(Caller(context, stub), call);
}

absl::StatusOr<SavedLayer> FetchCheckpoint(grpc::ClientContext& context, Stub& stub,
                                           const v1::FetchCheckpointRequest& request,
                                           const std::string& identity_sha256,
                                           const std::function<void()>& on_message) {
  CheckpointAssembly assembly(request.checkpoint(), identity_sha256);
  const auto reader = stub.FetchCheckpoint(&context, request);
  v1::FetchCheckpointReply message;
  absl::Status status;
  while (status.ok() && reader->Read(&message)) {
    on_message();
    status = assembly.Add(std::move(message));
  }
  if (!status.ok()) context.TryCancel();
  const absl::Status end = FromGrpc(reader->Finish());
  if (!status.ok()) return status;
  if (absl::IsNotFound(end)) return absl::AbortedError(end.message());
  if (absl::IsInvalidArgument(end)) return absl::UnknownError(end.message());
  if (!end.ok()) return end;
  return assembly.Finish();
}

}  // namespace retort
