// For tests: a RunService on a loopback port that answers as the test scripts it.
#pragma once

#include <functional>
#include <string>

#include "core/rpc/testing_server.h"
#include "retort/v1/run_service.grpc.pb.h"

namespace retort {

class ScriptedService : public v1::RunService::Service {
 public:
  std::function<grpc::Status(v1::GetVersionReply&)> on_version = [](v1::GetVersionReply& reply) {
    reply.set_version("9.9.9");
    reply.set_protocol_min(1);
    reply.set_protocol_max(1);
    return grpc::Status::OK;
  };
  std::function<grpc::Status(const v1::SubmitRequest&, v1::SubmitReply&)> on_submit;
  std::function<grpc::Status(const v1::WatchRequest&, grpc::ServerWriter<v1::WatchReply>&)> on_watch;
  std::function<grpc::Status(const v1::LogsRequest&, grpc::ServerWriter<v1::LogsReply>&)> on_logs;
  std::function<grpc::Status(const v1::DownloadRequest&, grpc::ServerWriter<v1::DownloadReply>&)> on_download;

  explicit ScriptedService(const std::string& listen_at = "127.0.0.1:0") : server_(*this, listen_at) {}

  std::string address() const { return server_.address(); }

 private:
  grpc::Status GetVersion(grpc::ServerContext*, const v1::GetVersionRequest*,
                          v1::GetVersionReply* reply) override {
    return on_version(*reply);
  }
  grpc::Status Submit(grpc::ServerContext*, const v1::SubmitRequest* request,
                      v1::SubmitReply* reply) override {
    return on_submit(*request, *reply);
  }
  grpc::Status Watch(grpc::ServerContext*, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::WatchReply>* writer) override {
    return on_watch(*request, *writer);
  }
  grpc::Status Logs(grpc::ServerContext*, const v1::LogsRequest* request,
                    grpc::ServerWriter<v1::LogsReply>* writer) override {
    return on_logs(*request, *writer);
  }
  grpc::Status Download(grpc::ServerContext*, const v1::DownloadRequest* request,
                        grpc::ServerWriter<v1::DownloadReply>* writer) override {
    return on_download(*request, *writer);
  }

  const TestingServer server_;
};

}  // namespace retort
