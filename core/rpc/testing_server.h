// For tests: a service of theirs on a loopback port.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/rpc/channel.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

namespace retort {

// Serves from its making to its end, which breaks off the calls under way. A class that serves itself has it
// as its last member.
class TestingServer {
 public:
  explicit TestingServer(grpc::Service& service, const std::string& listen_at = "127.0.0.1:0") {
    grpc::ServerBuilder builder;
    SetServerArguments(builder);
    builder.AddListeningPort(listen_at, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&service);
    server_ = builder.BuildAndStart();
    RETORT_CHECK(server_ != nullptr && port_ > 0) << listen_at;
  }
  ~TestingServer() { server_->Shutdown(std::chrono::system_clock::now()); }

  int port() const { return port_; }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace retort
