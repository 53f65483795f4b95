// For tests: a RunService on a loopback port that answers as the test scripts it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/base/check.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
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

  explicit ScriptedService(const std::string& listen_at = "127.0.0.1:0") {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(listen_at, grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    RETORT_CHECK(server_ != nullptr && port > 0) << port;
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  ~ScriptedService() override { server_->Shutdown(std::chrono::system_clock::now()); }

  const std::string& address() const { return address_; }

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

  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace retort
