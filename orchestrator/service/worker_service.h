// WorkerService on gRPC: no thread waits for a call. Heartbeats are answered by gRPC's own threads, which
// never touch the disk; the other calls by `calls`, streams of bytes by `bytes`.
#pragma once

#include "orchestrator/coordinator/coordinator.h"
#include "orchestrator/logs/log_store.h"
#include "orchestrator/service/lease_queue.h"
#include "orchestrator/service/reply_stream.h"
#include "orchestrator/service/slots.h"
#include "orchestrator/service/work_pool.h"
#include "retort/v1/worker_service.grpc.pb.h"

namespace retort::orchestrator {

// What the services work with. All outlive them.
struct ServiceParts {
  Coordinator& coordinator;
  LogStore& logs;
  WorkPool& calls;
  WorkPool& bytes;
  OpenStreams& streams;
  LeaseQueue& leases;
  Slots& uploads;
  Slots& fetches;
  Slots& downloads;  // users', who may be slow: workers do not wait for them
};

class WorkerService final : public v1::WorkerService::CallbackService {
 public:
  explicit WorkerService(const ServiceParts& parts) : parts_(parts) {}

  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context, const v1::RegisterRequest* request,
                                     v1::RegisterReply* reply) override;
  grpc::ServerUnaryReactor* Lease(grpc::CallbackServerContext* context, const v1::LeaseRequest* request,
                                  v1::LeaseReply* reply) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context,
                                      const v1::HeartbeatRequest* request,
                                      v1::HeartbeatReply* reply) override;
  grpc::ServerUnaryReactor* BeginPublish(grpc::CallbackServerContext* context,
                                         const v1::BeginPublishRequest* request,
                                         v1::BeginPublishReply* reply) override;
  grpc::ServerReadReactor<v1::UploadChunksRequest>* UploadChunks(grpc::CallbackServerContext* context,
                                                                 v1::UploadChunksReply* reply) override;
  grpc::ServerUnaryReactor* CommitPublish(grpc::CallbackServerContext* context,
                                          const v1::CommitPublishRequest* request,
                                          v1::CommitPublishReply* reply) override;
  grpc::ServerWriteReactor<v1::FetchCheckpointReply>* FetchCheckpoint(
      grpc::CallbackServerContext* context, const v1::FetchCheckpointRequest* request) override;
  grpc::ServerUnaryReactor* Complete(grpc::CallbackServerContext* context, const v1::CompleteRequest* request,
                                     v1::CompleteReply* reply) override;
  grpc::ServerUnaryReactor* Fail(grpc::CallbackServerContext* context, const v1::FailRequest* request,
                                 v1::FailReply* reply) override;
  grpc::ServerUnaryReactor* ReleaseLease(grpc::CallbackServerContext* context,
                                         const v1::ReleaseLeaseRequest* request,
                                         v1::ReleaseLeaseReply* reply) override;
  grpc::ServerUnaryReactor* Leave(grpc::CallbackServerContext* context, const v1::LeaveRequest* request,
                                  v1::LeaveReply* reply) override;
  grpc::ServerUnaryReactor* JoinGang(grpc::CallbackServerContext* context, const v1::JoinGangRequest* request,
                                     v1::JoinGangReply* reply) override;
  grpc::ServerUnaryReactor* Rendezvous(grpc::CallbackServerContext* context,
                                       const v1::RendezvousRequest* request,
                                       v1::RendezvousReply* reply) override;
  grpc::ServerUnaryReactor* ShipLogs(grpc::CallbackServerContext* context, const v1::ShipLogsRequest* request,
                                     v1::ShipLogsReply* reply) override;

 private:
  ServiceParts parts_;
};

}  // namespace retort::orchestrator
