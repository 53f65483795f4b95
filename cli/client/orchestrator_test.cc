#include "cli/client/orchestrator.h"

#include <atomic>

#include "cli/client/testing_service.h"
#include "core/base/clock.h"
#include "gmock/gmock.h"

namespace retort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(OrchestratorAddress, FlagComesBeforeEnvironmentBeforeDefault) {
  EXPECT_EQ(OrchestratorAddress("a:1", "b:2"), "a:1");
  EXPECT_EQ(OrchestratorAddress("", "b:2"), "b:2");
  EXPECT_EQ(OrchestratorAddress("", ""), "localhost:7077");
  EXPECT_EQ(OrchestratorAddress("", nullptr), "localhost:7077");
}

TEST(Repeats, WaitsLongerUntilThePatienceIsOver) {
  Repeats repeats(100, 10);
  EXPECT_NEAR(repeats.AfterFailure(100, 1), 0.2, 0.1);
  EXPECT_NEAR(repeats.AfterFailure(101, 1), 0.4, 0.2);
  EXPECT_NEAR(repeats.AfterFailure(109.9, 1), 0.1, 0.001);  // no longer than what is left
  EXPECT_LT(repeats.AfterFailure(110, 1), 0);
  repeats.Succeeded(110);
  EXPECT_NEAR(repeats.AfterFailure(111, 1), 0.2, 0.1);
}

TEST(DrawRequestId, IsNewEachTime) {
  EXPECT_EQ(DrawRequestId().size(), 32u);
  EXPECT_NE(DrawRequestId(), DrawRequestId());
}

TEST(Connect, SaysWhoDoesNotAnswerAndWhatToDo) {
  const absl::Status status = Orchestrator::Connect("127.0.0.1:1", 0.3).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("127.0.0.1:1 in "), HasSubstr("s: connection refused; check that it runs"),
                    HasSubstr("--orchestrator HOST:PORT")));
}

TEST(Connect, RefusesAnotherProtocol) {
  ScriptedService service;
  service.on_version = [](v1::GetVersionReply& reply) {
    reply.set_version("9.9.9");
    reply.set_protocol_min(2);
    reply.set_protocol_max(3);
    return grpc::Status::OK;
  };
  const absl::Status status = Orchestrator::Connect(service.address(), 5).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("version 9.9.9, speaks protocols 2 to 3"), HasSubstr("speaks 1: use one")));
}

TEST(Connect, SaysThatSomethingElseAnswers) {
  ScriptedService service;
  service.on_version = [](v1::GetVersionReply&) { return grpc::Status(grpc::StatusCode::UNIMPLEMENTED, ""); };
  const absl::Status status = Orchestrator::Connect(service.address(), 5).status();
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("is no orchestrator of Retort; name it with"));
}

TEST(Call, SaysThatTheOrchestratorDoesNotKnowIt) {
  ScriptedService service;
  Orchestrator orchestrator = Orchestrator::Connect(service.address(), 5).value();
  const absl::Status status = orchestrator.Call(&v1::RunService::Stub::List, v1::ListRequest()).status();
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("version 9.9.9, does not know this call"));
}

TEST(Connect, RepeatsUntilTheOrchestratorIsReady) {
  ScriptedService service;
  std::atomic<int> calls = 0;
  service.on_version = [&calls, ready = service.on_version](v1::GetVersionReply& reply) {
    return ++calls < 3 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "starting") : ready(reply);
  };
  EXPECT_EQ(Orchestrator::Connect(service.address(), 30).value().version(), "9.9.9");
  EXPECT_EQ(calls, 3);
}

TEST(WaitToRepeat, EndsAsSoonAsTheConnectionIsThereAgain) {
  auto service = std::make_unique<ScriptedService>();
  const std::string address = service->address();
  Orchestrator orchestrator = Orchestrator::Connect(address, 10).value();
  service.reset();
  v1::GetVersionReply reply;
  for (grpc::Status status; status.ok();) {
    grpc::ClientContext context;
    status = orchestrator.stub().GetVersion(&context, {}, &reply);
  }
  service = std::make_unique<ScriptedService>(address);
  const double start = MonotonicSeconds();
  EXPECT_TRUE(orchestrator.WaitToRepeat(60, [] { return true; }));
  EXPECT_LT(MonotonicSeconds() - start, 30);
  EXPECT_FALSE(orchestrator.WaitToRepeat(60, [] { return false; }));
}

TEST(WaitToRepeat, WaitsWhileTheConnectionStands) {
  ScriptedService service;
  const Orchestrator orchestrator = Orchestrator::Connect(service.address(), 10).value();
  const double start = MonotonicSeconds();
  EXPECT_TRUE(orchestrator.WaitToRepeat(0.3, [] { return true; }));
  EXPECT_GE(MonotonicSeconds() - start, 0.3);
}

TEST(WhyUnreachable, SaysWhatAUserNeedsToKnow) {
  const auto why = [](const char* text) { return WhyUnreachable(absl::UnavailableError(text)); };
  EXPECT_EQ(
      why("failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect "
          "to remote host: Connection refused"),
      "connection refused");
  EXPECT_EQ(
      why("failed to connect to all addresses; last error: UNAVAILABLE: ipv4:127.0.0.1:1: Endpoint read "
          "failed"),
      "Endpoint read failed");
  EXPECT_EQ(why("the store is being read"), "the store is being read") << "the orchestrator's own words";
  EXPECT_EQ(WhyUnreachable(absl::DeadlineExceededError("Deadline Exceeded")), "it did not answer in time");
}

TEST(Call, RepeatsWithTheSameRequestId) {
  ScriptedService service;
  std::vector<std::string> ids;
  service.on_submit = [&ids](const v1::SubmitRequest& request, v1::SubmitReply& reply) {
    ids.push_back(request.request_id());
    reply.set_run_id(17);
    return ids.size() < 2 ? grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "busy") : grpc::Status::OK;
  };
  Orchestrator orchestrator = Orchestrator::Connect(service.address(), 30).value();
  v1::SubmitRequest request;
  request.set_request_id("once");
  EXPECT_EQ(orchestrator.Call(&v1::RunService::Stub::Submit, request).value().run_id(), 17u);
  EXPECT_THAT(ids, testing::ElementsAre("once", "once"));
}

TEST(Call, DoesNotRepeatARefusal) {
  ScriptedService service;
  std::atomic<int> calls = 0;
  service.on_submit = [&calls](const v1::SubmitRequest&, v1::SubmitReply&) {
    ++calls;
    return grpc::Status(grpc::StatusCode::ALREADY_EXISTS, "run tiny has not ended");
  };
  Orchestrator orchestrator = Orchestrator::Connect(service.address(), 30).value();
  const absl::Status status = orchestrator.Call(&v1::RunService::Stub::Submit, v1::SubmitRequest()).status();
  EXPECT_EQ(status, absl::AlreadyExistsError("run tiny has not ended"));
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace retort
