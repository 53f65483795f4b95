#include "tests/fault/commit_holder.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <optional>

#include "absl/strings/str_cat.h"
#include "core/base/mutex.h"
#include "core/rpc/call.h"
#include "core/rpc/channel.h"
#include "core/rpc/status.h"
#include "core/rpc/testing_server.h"
#include "retort/v1/worker_service.grpc.pb.h"

namespace retort {

// gRPC calls the methods of the service on threads of its own.
class CommitHolder::Relay final : public v1::WorkerService::Service {
 public:
  explicit Relay(const std::string& orchestrator)
      : stub_(v1::WorkerService::NewStub(MakeChannel(orchestrator))) {}
  ~Relay() override { LetGo(); }

  int port() const { return server_.port(); }
  std::optional<v1::CommitPublishRequest> commit() {
    MutexLock lock(mutex_);
    return commit_;
  }
  v1::BeginPublishRequest begun() {
    MutexLock lock(mutex_);
    return begun_;
  }
  void LetGo() {
    MutexLock lock(mutex_);
    is_let_go_ = true;
    changed_.notify_all();
  }
  absl::Status AwaitAnswer() {
    MutexLock lock(mutex_);
    while (!answer_) changed_.wait(mutex_);
    return *answer_;
  }

 private:
  using Stub = v1::WorkerService::Stub;
  using Context = grpc::ServerContext;

  grpc::Status Lease(Context* from, const v1::LeaseRequest* request, v1::LeaseReply* reply) override {
    grpc::Status status = Pass(from, &Stub::Lease, request, reply);
    const bool is_of_stage_two = reply->slice().stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT;
    MutexLock lock(mutex_);
    if (is_of_stage_two) token_ = reply->slice().token();
    return status;
  }
  grpc::Status BeginPublish(Context* from, const v1::BeginPublishRequest* request,
                            v1::BeginPublishReply* reply) override {
    {
      MutexLock lock(mutex_);
      if (!commit_) begun_ = *request;
    }
    return Pass(from, &Stub::BeginPublish, request, reply);
  }
  grpc::Status CommitPublish(Context* from, const v1::CommitPublishRequest* request,
                             v1::CommitPublishReply* reply) override {
    if (!IsToHold(*request)) return Pass(from, &Stub::CommitPublish, request, reply);
    {
      MutexLock lock(mutex_);
      while (!is_let_go_) changed_.wait(mutex_);
    }
    const auto answer = Call(*stub_, &Stub::CommitPublish, *request, kSyncedWriteDeadline);
    MutexLock lock(mutex_);
    answer_ = answer.status();
    changed_.notify_all();
    return ToGrpc(answer.status());
  }

  bool IsToHold(const v1::CommitPublishRequest& request) {
    MutexLock lock(mutex_);
    if (commit_ || request.token() != token_) return false;
    commit_ = request;
    return true;
  }

  grpc::Status UploadChunks(Context* from, grpc::ServerReader<v1::UploadChunksRequest>* reader,
                            v1::UploadChunksReply* reply) override {
    const auto context = grpc::ClientContext::FromServerContext(*from);
    const auto writer = stub_->UploadChunks(context.get(), reply);
    for (v1::UploadChunksRequest message; reader->Read(&message) && writer->Write(message);) continue;
    writer->WritesDone();
    return writer->Finish();
  }
  grpc::Status FetchCheckpoint(Context* from, const v1::FetchCheckpointRequest* request,
                               grpc::ServerWriter<v1::FetchCheckpointReply>* writer) override {
    const auto context = grpc::ClientContext::FromServerContext(*from);
    const auto reader = stub_->FetchCheckpoint(context.get(), *request);
    for (v1::FetchCheckpointReply message; reader->Read(&message) && writer->Write(message);) continue;
    return reader->Finish();
  }
  grpc::Status Register(Context* from, const v1::RegisterRequest* request,
                        v1::RegisterReply* reply) override {
    return Pass(from, &Stub::Register, request, reply);
  }
  grpc::Status Heartbeat(Context* from, const v1::HeartbeatRequest* request,
                         v1::HeartbeatReply* reply) override {
    return Pass(from, &Stub::Heartbeat, request, reply);
  }
  grpc::Status Complete(Context* from, const v1::CompleteRequest* request,
                        v1::CompleteReply* reply) override {
    return Pass(from, &Stub::Complete, request, reply);
  }
  grpc::Status Fail(Context* from, const v1::FailRequest* request, v1::FailReply* reply) override {
    return Pass(from, &Stub::Fail, request, reply);
  }
  grpc::Status ReleaseLease(Context* from, const v1::ReleaseLeaseRequest* request,
                            v1::ReleaseLeaseReply* reply) override {
    return Pass(from, &Stub::ReleaseLease, request, reply);
  }
  grpc::Status Leave(Context* from, const v1::LeaveRequest* request, v1::LeaveReply* reply) override {
    return Pass(from, &Stub::Leave, request, reply);
  }
  grpc::Status ShipLogs(Context* from, const v1::ShipLogsRequest* request,
                        v1::ShipLogsReply* reply) override {
    return Pass(from, &Stub::ShipLogs, request, reply);
  }

  template <class Request, class Reply>
  grpc::Status Pass(Context* from, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                    const Request* request, Reply* reply) {
    const auto context = grpc::ClientContext::FromServerContext(*from);
    return (stub_.get()->*method)(context.get(), *request, reply);
  }

  const std::unique_ptr<Stub> stub_;
  Mutex mutex_;
  std::condition_variable_any changed_;
  uint64_t token_ ABSL_GUARDED_BY(mutex_) = 0;  // of the newest lease in stage 2
  v1::BeginPublishRequest begun_ ABSL_GUARDED_BY(mutex_);
  std::optional<v1::CommitPublishRequest> commit_ ABSL_GUARDED_BY(mutex_);
  bool is_let_go_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> answer_ ABSL_GUARDED_BY(mutex_);
  const TestingServer server_{*this};
};

CommitHolder::CommitHolder(const std::string& orchestrator)
    : relay_(std::make_unique<Relay>(orchestrator)), address_(absl::StrCat("127.0.0.1:", relay_->port())) {}

CommitHolder::~CommitHolder() = default;

bool CommitHolder::HasCommit() const { return relay_->commit().has_value(); }
v1::CommitPublishRequest CommitHolder::commit() const { return relay_->commit().value(); }
v1::BeginPublishRequest CommitHolder::begun() const { return relay_->begun(); }

absl::Status CommitHolder::LetGo() {
  relay_->LetGo();
  return relay_->AwaitAnswer();
}

}  // namespace retort
