#include "cli/client/follow_run.h"

#include "cli/client/testing_service.h"
#include "gmock/gmock.h"

namespace retort {
namespace {

using testing::ElementsAre;

v1::WatchReply Snapshot(v1::RunState state) {
  v1::WatchReply reply;
  reply.mutable_snapshot()->mutable_summary()->set_run_id(17);
  reply.mutable_snapshot()->mutable_summary()->set_state(state);
  return reply;
}

v1::WatchReply EventOf(uint64_t sequence) {
  v1::WatchReply reply;
  reply.mutable_event()->set_sequence(sequence);
  return reply;
}

v1::RunRef Named(const std::string& name) {
  v1::RunRef run;
  run.set_name(name);
  return run;
}

class FollowingARun : public testing::Test {
 protected:
  // Follows the run named tiny; notes events.
  absl::StatusOr<v1::RunStatus> Follow(FollowOptions options = {}) {
    options.run = Named("tiny");
    return FollowRun(orchestrator_, options, [this](const v1::WatchReply* part) {
      if (part != nullptr && part->has_event()) events_.push_back(part->event().sequence());
      return go_on_(part);
    });
  }

  // Each call of Watch takes the next of these; the last one again and again.
  void Script(std::vector<std::function<grpc::Status(grpc::ServerWriter<v1::WatchReply>&)>> streams) {
    service_.on_watch = [this, streams](const v1::WatchRequest& request,
                                        grpc::ServerWriter<v1::WatchReply>& writer) {
      requests_.push_back(request.ShortDebugString());
      return streams[std::min(requests_.size(), streams.size()) - 1](writer);
    };
  }

  ScriptedService service_;
  Orchestrator orchestrator_ = Orchestrator::Connect(service_.address(), 10).value();
  std::vector<std::string> requests_;
  std::vector<uint64_t> events_;
  std::function<bool(const v1::WatchReply*)> go_on_ = [](const v1::WatchReply*) { return true; };
};

TEST_F(FollowingARun, EndsWithTheRun) {
  Script({[](grpc::ServerWriter<v1::WatchReply>& writer) {
    writer.Write(Snapshot(v1::RUN_STATE_RUNNING));
    writer.Write(EventOf(5));
    writer.Write(Snapshot(v1::RUN_STATE_SUCCEEDED));
    return grpc::Status::OK;
  }});
  EXPECT_EQ(Follow().value().summary().state(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_THAT(events_, ElementsAre(5));
}

TEST_F(FollowingARun, GoesOnBehindTheLastEventOfABrokenStream) {
  Script({[](grpc::ServerWriter<v1::WatchReply>& writer) {
            writer.Write(Snapshot(v1::RUN_STATE_RUNNING));
            writer.Write(EventOf(5));
            writer.Write(EventOf(8));
            return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
          },
          [](grpc::ServerWriter<v1::WatchReply>& writer) {
            writer.Write(EventOf(9));
            writer.Write(Snapshot(v1::RUN_STATE_FAILED));
            return grpc::Status::OK;
          }});
  EXPECT_EQ(Follow().value().summary().state(), v1::RUN_STATE_FAILED);
  EXPECT_THAT(events_, ElementsAre(5, 8, 9));
  EXPECT_THAT(requests_, ElementsAre("run { name: \"tiny\" }", "run { id: 17 } after_sequence: 8"));
}

TEST_F(FollowingARun, BeginsAnewOnAnotherStore) {
  Script({[](grpc::ServerWriter<v1::WatchReply>&) {
            return grpc::Status(grpc::StatusCode::OUT_OF_RANGE, "in the future");
          },
          [](grpc::ServerWriter<v1::WatchReply>& writer) {
            writer.Write(Snapshot(v1::RUN_STATE_SUCCEEDED));
            return grpc::Status::OK;
          }});
  EXPECT_TRUE(Follow({.after_sequence = 99}).ok());
  EXPECT_THAT(requests_, ElementsAre("run { name: \"tiny\" } after_sequence: 99", "run { name: \"tiny\" }"));
}

TEST_F(FollowingARun, FailsAtOnceForARunThatIsNotThere) {
  Script({[](grpc::ServerWriter<v1::WatchReply>&) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "no run named tiny");
  }});
  EXPECT_EQ(Follow().status(), absl::NotFoundError("no run named tiny"));
  EXPECT_EQ(requests_.size(), 1u);
}

TEST_F(FollowingARun, GivesUpWhenTheOrchestratorStaysAway) {
  Script({[](grpc::ServerWriter<v1::WatchReply>& writer) {
            writer.Write(Snapshot(v1::RUN_STATE_RUNNING));
            return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
          },
          [](grpc::ServerWriter<v1::WatchReply>&) {
            return grpc::Status(grpc::StatusCode::UNAVAILABLE, "still down");
          }});
  const absl::Status status = Follow({.patience_seconds = 0.5}).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("still down"));
}

TEST_F(FollowingARun, EndsWhenItsReaderHasEnough) {
  Script({[](grpc::ServerWriter<v1::WatchReply>& writer) {
    while (writer.Write(Snapshot(v1::RUN_STATE_RUNNING))) {
    }
    return grpc::Status::OK;
  }});
  go_on_ = [](const v1::WatchReply* part) { return part == nullptr; };
  EXPECT_TRUE(absl::IsCancelled(Follow().status()));
}

}  // namespace
}  // namespace retort
