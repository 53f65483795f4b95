#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/mutex.h"
#include "core/rpc/call.h"
#include "core/rpc/channel.h"
#include "core/rpc/status.h"
#include "gmock/gmock.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "gtest/gtest.h"
#include "retort/v1/run_service.grpc.pb.h"

namespace retort {
namespace {

using testing::HasSubstr;

// Answers GetVersion, refuses List, and keeps Get waiting until it is cancelled.
class AnyService final : public v1::RunService::Service {
 public:
  grpc::Status GetVersion(grpc::ServerContext* context, const v1::GetVersionRequest*,
                          v1::GetVersionReply* reply) override {
    MutexLock lock(mutex_);
    peers_.insert(context->peer());
    reply->set_version("1.2.3");
    return grpc::Status::OK;
  }
  grpc::Status List(grpc::ServerContext*, const v1::ListRequest* request, v1::ListReply*) override {
    return ToGrpc(absl::DataLossError(std::string(request->page_size(), 'x')));
  }
  grpc::Status Get(grpc::ServerContext* context, const v1::GetRequest*, v1::GetReply*) override {
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::OK;
  }
  size_t peers() {
    MutexLock lock(mutex_);
    return peers_.size();
  }

 private:
  Mutex mutex_;
  std::set<std::string> peers_ ABSL_GUARDED_BY(mutex_);
};

class Rpc : public testing::Test {
 protected:
  Rpc() {
    server_ = Serve("127.0.0.1:0", &port_);
    RETORT_CHECK(server_ != nullptr);
    address_ = absl::StrCat("127.0.0.1:", port_);
  }
  std::unique_ptr<grpc::Server> Serve(const std::string& address, int* port) {
    grpc::ServerBuilder builder;
    SetServerArguments(builder);
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), port);
    builder.RegisterService(&service_);
    return builder.BuildAndStart();
  }
  std::unique_ptr<v1::RunService::Stub> Connect() { return v1::RunService::NewStub(MakeChannel(address_)); }

  AnyService service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

TEST_F(Rpc, CallGivesTheReply) {
  const auto stub = Connect();
  const auto reply = Call(*stub, &v1::RunService::Stub::GetVersion, {}, kCallDeadline);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->version(), "1.2.3");
}

TEST_F(Rpc, CallGivesTheServersStatusAndCutsALongMessage) {
  const auto stub = Connect();
  v1::ListRequest request;
  request.set_page_size(100);
  EXPECT_EQ(Call(*stub, &v1::RunService::Stub::List, request, kCallDeadline).status(),
            absl::DataLossError(std::string(100, 'x')));
  request.set_page_size(20'000);
  EXPECT_EQ(Call(*stub, &v1::RunService::Stub::List, request, kCallDeadline).status(),
            absl::DataLossError(std::string(4093, 'x') + "..."));
}

TEST_F(Rpc, CallEndsAtItsDeadline) {
  const auto stub = Connect();
  EXPECT_EQ(Call(*stub, &v1::RunService::Stub::Get, {}, std::chrono::milliseconds(20)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(Rpc, NobodyThereIsUnavailable) {
  server_->Shutdown();
  server_.reset();
  const auto stub = Connect();
  EXPECT_EQ(Call(*stub, &v1::RunService::Stub::GetVersion, {}, kCallDeadline).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(Rpc, AServerThatWasAwayForLongIsFoundWithinASecondOrSo) {
  server_->Shutdown();
  server_.reset();
  const auto channel = MakeChannel(address_);
  const auto within = [](int seconds) {
    return std::chrono::system_clock::now() + std::chrono::seconds(seconds);
  };
  EXPECT_FALSE(channel->WaitForConnected(within(6)));  // tries, less and less often
  server_ = Serve(address_, &port_);
  ASSERT_NE(server_, nullptr);
  const double start = MonotonicSeconds();
  EXPECT_TRUE(channel->WaitForConnected(within(60)));
  EXPECT_LT(MonotonicSeconds() - start, 2);
}

TEST_F(Rpc, TwoChannelsHaveTwoConnections) {
  const auto first = Connect(), second = Connect();
  for (const auto* stub : {&first, &second}) {
    ASSERT_TRUE(Call(**stub, &v1::RunService::Stub::GetVersion, {}, kCallDeadline).ok());
  }
  EXPECT_EQ(service_.peers(), 2u);
}

TEST_F(Rpc, AMessageBeyondFourMebibytesNamesBothSizes) {
  const auto stub = Connect();
  v1::SubmitRequest request;
  request.set_request_id(std::string(5 << 20, 'x'));
  const absl::Status status = Call(*stub, &v1::RunService::Stub::Submit, request, kCallDeadline).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("5242885 vs. 4194304"));
}

TEST_F(Rpc, ASecondServerOnThePortFails) {
  int port = 0;
  EXPECT_EQ(Serve(address_, &port), nullptr);
}

TEST(UploadDeadline, GrowsWithTheBytes) {
  EXPECT_EQ(UploadDeadline(0), std::chrono::seconds(300));
  EXPECT_EQ(UploadDeadline(uint64_t{2} << 30), std::chrono::seconds(812));
}

}  // namespace
}  // namespace retort
