#include "cli/client/read_logs.h"

#include "cli/client/testing_service.h"
#include "gmock/gmock.h"

namespace retort {
namespace {

using testing::ElementsAre;
using Writer = grpc::ServerWriter<v1::LogsReply>;

v1::LogsReply Reply(uint64_t last_sequence, const std::vector<std::string>& texts) {
  v1::LogsReply reply;
  reply.set_last_sequence(last_sequence);
  for (const std::string& text : texts) {
    v1::LogLine& line = *reply.add_lines();
    line.set_text(text);
    line.set_run_id(17);
    line.set_time_unix_ms(1000);  // all of them: time does not tell lines apart
  }
  return reply;
}

class ReadingLogs : public testing::Test {
 protected:
  absl::Status Read(ReadLogsOptions options = {}) {
    options.request.mutable_run()->set_name("tiny");
    options.request.set_tail_lines(10);
    return ReadLogs(orchestrator_, options, [this](const v1::LogsReply* reply) {
      if (reply == nullptr) return true;
      for (const v1::LogLine& line : reply->lines()) texts_.push_back(line.text());
      return texts_.size() < enough_;
    });
  }

  // Each call of Logs takes the next of these; the last one again and again.
  void Script(std::vector<std::function<grpc::Status(Writer&)>> streams) {
    service_.on_logs = [this, streams](const v1::LogsRequest& request, Writer& writer) {
      requests_.push_back(request.ShortDebugString());
      return streams[std::min(requests_.size(), streams.size()) - 1](writer);
    };
  }

  ScriptedService service_;
  Orchestrator orchestrator_ = Orchestrator::Connect(service_.address(), 10).value();
  std::vector<std::string> requests_, texts_;
  size_t enough_ = 100;
};

TEST_F(ReadingLogs, GoesOnBehindTheLastLineOfABrokenStream) {
  Script({[](Writer& writer) {
            writer.Write(Reply(7, {"a", "b"}));
            return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
          },
          [](Writer& writer) {
            writer.Write(Reply(9, {"c"}));
            return grpc::Status::OK;
          }});
  EXPECT_EQ(Read(), absl::OkStatus());
  EXPECT_THAT(texts_, ElementsAre("a", "b", "c"));
  EXPECT_THAT(requests_,
              ElementsAre("run { name: \"tiny\" } tail_lines: 10", "run { id: 17 } after_sequence: 7"));
}

TEST_F(ReadingLogs, GoesOnByTimeWhenTheNewestLinesAreLost) {
  Script({[](Writer& writer) {
            writer.Write(Reply(7, {"a"}));
            return grpc::Status(grpc::StatusCode::UNAVAILABLE, "power cut");
          },
          [](Writer&) { return grpc::Status(grpc::StatusCode::OUT_OF_RANGE, "beyond the last line"); },
          [](Writer&) { return grpc::Status::OK; }});
  EXPECT_EQ(Read(), absl::OkStatus());
  EXPECT_EQ(requests_.back(), "run { id: 17 } since_unix_ms: 1001");
}

TEST_F(ReadingLogs, FailsAtOnceForARunThatIsNotThere) {
  Script({[](Writer&) { return grpc::Status(grpc::StatusCode::NOT_FOUND, "no run named tiny"); }});
  EXPECT_EQ(Read(), absl::NotFoundError("no run named tiny"));
  EXPECT_EQ(requests_.size(), 1u);
}

TEST_F(ReadingLogs, GivesUpWhenTheOrchestratorStaysAway) {
  Script({[](Writer& writer) {
            writer.Write(Reply(7, {"a"}));
            return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
          },
          [](Writer&) { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "still down"); }});
  const absl::Status status = Read({.patience_seconds = 0.5});
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("still down"));
}

TEST_F(ReadingLogs, EndsWhenItsReaderHasEnough) {
  Script({[](Writer& writer) {
    while (writer.Write(Reply(7, {"a"}))) {
    }
    return grpc::Status::OK;
  }});
  enough_ = 3;
  EXPECT_TRUE(absl::IsCancelled(Read()));
}

}  // namespace
}  // namespace retort
