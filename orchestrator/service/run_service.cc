#include "orchestrator/service/run_service.h"

#include <memory>
#include <string>

#include "core/base/status_macros.h"
#include "core/base/version.h"
#include "orchestrator/service/run_streams.h"
#include "orchestrator/service/unary.h"

namespace retort::orchestrator {
namespace {

constexpr uint32_t kProtocol = 1;

// `source`, which is one call's own, in a form that can be copied.
template <class Reply, class Source>
ReplySource<Reply> Own(std::shared_ptr<Source> source) {
  return [source = std::move(source)](Reply& reply) { return (*source)(reply); };
}

}  // namespace

grpc::ServerUnaryReactor* RunService::GetVersion(grpc::CallbackServerContext* context,
                                                 const v1::GetVersionRequest*, v1::GetVersionReply* reply) {
  reply->set_version(std::string(Version()));
  reply->set_protocol_min(kProtocol);
  reply->set_protocol_max(kProtocol);
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* RunService::Submit(grpc::CallbackServerContext* context,
                                             const v1::SubmitRequest* request, v1::SubmitReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this] { return parts_.coordinator.Submit(*request); });
}

grpc::ServerUnaryReactor* RunService::Plan(grpc::CallbackServerContext* context,
                                           const v1::PlanRequest* request, v1::PlanReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this] { return parts_.coordinator.Plan(*request); });
}

grpc::ServerUnaryReactor* RunService::Get(grpc::CallbackServerContext* context, const v1::GetRequest* request,
                                          v1::GetReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this] { return parts_.coordinator.Get(*request); });
}

grpc::ServerUnaryReactor* RunService::List(grpc::CallbackServerContext* context,
                                           const v1::ListRequest* request, v1::ListReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this] { return parts_.coordinator.List(*request); });
}

grpc::ServerWriteReactor<v1::WatchReply>* RunService::Watch(grpc::CallbackServerContext*,
                                                            const v1::WatchRequest* request) {
  return new ReplyStream<v1::WatchReply>(
      parts_.streams, parts_.calls, nullptr,
      Own<v1::WatchReply>(std::make_shared<WatchSource>(parts_.coordinator, *request)));
}

grpc::ServerWriteReactor<v1::LogsReply>* RunService::Logs(grpc::CallbackServerContext*,
                                                          const v1::LogsRequest* request) {
  return new ReplyStream<v1::LogsReply>(
      parts_.streams, parts_.bytes, nullptr,
      Own<v1::LogsReply>(std::make_shared<LogSource>(parts_.coordinator, parts_.logs, *request)));
}

grpc::ServerUnaryReactor* RunService::Pause(grpc::CallbackServerContext* context,
                                            const v1::PauseRequest* request, v1::PauseReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this] { return parts_.coordinator.Pause(*request); });
}

grpc::ServerUnaryReactor* RunService::Resume(grpc::CallbackServerContext* context,
                                             const v1::ResumeRequest* request, v1::ResumeReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this] { return parts_.coordinator.Resume(*request); });
}

grpc::ServerUnaryReactor* RunService::Cancel(grpc::CallbackServerContext* context,
                                             const v1::CancelRequest* request, v1::CancelReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this] { return parts_.coordinator.Cancel(*request); });
}

grpc::ServerUnaryReactor* RunService::Retry(grpc::CallbackServerContext* context,
                                            const v1::RetryRequest* request, v1::RetryReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this] { return parts_.coordinator.Retry(*request); });
}

grpc::ServerUnaryReactor* RunService::Delete(grpc::CallbackServerContext* context,
                                             const v1::DeleteRequest* request, v1::DeleteReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this]() -> absl::StatusOr<v1::DeleteReply> {
    // Its lines last: when they cannot be written anew the caller repeats the request, whose reply is kept.
    ASSIGN_OR_RETURN(const v1::DeleteReply deleted, parts_.coordinator.Delete(*request));
    RETURN_IF_ERROR(parts_.logs.ForgetRun(deleted.run_id()));
    return deleted;
  });
}

grpc::ServerUnaryReactor* RunService::ListWorkers(grpc::CallbackServerContext* context,
                                                  const v1::ListWorkersRequest*,
                                                  v1::ListWorkersReply* reply) {
  return AnswerOn(parts_.calls, context, reply, [=, this] { return parts_.coordinator.ListWorkers(); });
}

grpc::ServerUnaryReactor* RunService::DrainWorker(grpc::CallbackServerContext* context,
                                                  const v1::DrainWorkerRequest* request,
                                                  v1::DrainWorkerReply* reply) {
  return AnswerOn(parts_.calls, context, reply,
                  [=, this] { return parts_.coordinator.DrainWorker(*request); });
}

grpc::ServerWriteReactor<v1::DownloadReply>* RunService::Download(grpc::CallbackServerContext*,
                                                                  const v1::DownloadRequest* request) {
  return new ReplyStream<v1::DownloadReply>(
      parts_.streams, parts_.bytes, &parts_.downloads,
      Own<v1::DownloadReply>(std::make_shared<DownloadSource>(parts_.coordinator, *request)));
}

}  // namespace retort::orchestrator
