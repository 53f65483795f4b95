// A worker that stands still for longer than its lease, and then goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "core/rpc/call.h"
#include "core/rpc/channel.h"
#include "retort/v1/worker_service.grpc.pb.h"
#include "tests/fault/commit_holder.h"
#include "tests/system/cluster_fixture.h"

namespace retort {
namespace {

using testing::Each;

using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::StartsWith;

// Waits until a lease of `worker` has expired and another worker has its first layer. The end of the lease;
// nothing: too late.
std::optional<v1::Event> AwaitTakeover(const RunHistory& history, const std::string& worker) {
  std::optional<v1::Event> end;
  const auto is_taken_over = [&] {
    for (const v1::Event& event : history.events()) {
      const bool is_expiry = event.kind() == v1::EVENT_KIND_LEASE_ENDED && event.worker_name() == worker &&
                             event.cause() == v1::END_CAUSE_INFRASTRUCTURE;
      if (is_expiry && !end) end = event;
      const bool is_grant = end && event.kind() == v1::EVENT_KIND_LEASE_GRANTED;
      const auto& layers = event.layers();
      if (is_grant && event.stage() == end->stage() && event.worker_name() != worker &&
          std::count(layers.begin(), layers.end(), end->layers(0)) > 0)
        return true;
    }
    return false;
  };
  if (Eventually(kDeadlineSeconds, is_taken_over)) return end;
  ADD_FAILURE() << history.Render();
  return std::nullopt;
}

// What the event log has of `token` after its lease has ended.
std::vector<v1::Event> After(const RunHistory& history, const v1::Event& end) {
  std::vector<v1::Event> events = history.events();
  std::erase_if(events, [&](const v1::Event& event) {
    return event.sequence() <= end.sequence() || event.token() != end.token();
  });
  return events;
}

void ExpectToldThatTheLeaseEnded(const ProgramEnd& woken, uint64_t token) {
  EXPECT_EQ(woken.exit_code, 0) << woken.err;
  EXPECT_THAT(woken.err,
              HasSubstr(absl::StrCat("told to stop: the lease under token ", token, " has ended")));
}

TEST_F(ClusterTest, AWorkerThatWakesAfterItsLeaseWritesNothing) {
  constexpr ClusterJob kJob{.alignment_steps = 400,
                            .interval_steps = 1};  // a publish is nearly always under way
  Cluster cluster(RETORT_BIN_DIR);
  StartWorkers(cluster, {"a", "b"});
  const uint64_t run_id = cluster.Submit(kJob.Spec());
  const RunHistory history(cluster.address(), run_id);
  const std::string victim = StopInStageTwo(cluster, history, kJob);
  ASSERT_NE(victim, "");
  const std::optional<v1::Event> end = AwaitTakeover(history, victim);
  ASSERT_TRUE(end);
  EXPECT_TRUE(IsMidTraining(*end, kJob)) << history.Render();
  cluster.worker(victim).Signal(SIGCONT);
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id), kJob);
  for (const v1::Event& event : After(history, *end)) {
    EXPECT_EQ(event.kind(), v1::EVENT_KIND_STALE_WRITE_REFUSED) << history.Render();
  }
  ExpectToldThatTheLeaseEnded(cluster.EndWorker(victim, SIGTERM), end->token());
}

TEST_F(ClusterTest, WritesUnderAnExpiredLeaseAreRefusedAndCounted) {
  Cluster cluster(RETORT_BIN_DIR);
  CommitHolder holder(cluster.address());
  ChildProcess late({RETORT_BIN_DIR "/retort-worker", "--orchestrator", holder.address(), "--name", "late",
                     "--root", TinyJobDirectory(), "--threads", "1"});
  AwaitWorkers(cluster, 1);
  const uint64_t run_id = cluster.Submit(ClusterJob().Spec());
  const RunHistory history(cluster.address(), run_id);
  ASSERT_TRUE(Eventually(kDeadlineSeconds, [&] { return holder.HasCommit(); })) << history.Render();
  late.Signal(SIGSTOP);
  const v1::BeginPublishRequest begun = holder.begun();
  EXPECT_EQ(begun.layers(0).step(), ClusterJob().interval_steps) << "between the first step and the last";
  cluster.StartWorker("b", TinyJobDirectory());
  const std::optional<v1::Event> end = AwaitTakeover(history, "late");
  ASSERT_TRUE(end);
  ASSERT_EQ(end->token(), holder.commit().token());

  using Stub = v1::WorkerService::Stub;
  const auto stub = v1::WorkerService::NewStub(MakeChannel(cluster.address()));
  v1::CompleteRequest complete;
  complete.set_worker_id(begun.worker_id());
  complete.set_epoch(begun.epoch());
  complete.set_token(begun.token());
  complete.add_layers(begun.layers(0).layer());
  EXPECT_EQ(holder.LetGo().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Call(*stub, &Stub::BeginPublish, begun, kSyncedWriteDeadline).status().code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(Call(*stub, &Stub::Complete, complete, kSyncedWriteDeadline).status().code(),
            absl::StatusCode::kAborted);
  late.Signal(SIGCONT);
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id));

  std::vector<v1::EventKind> kinds;
  std::vector<std::string> texts;
  for (const v1::Event& event : After(history, *end)) {
    kinds.push_back(event.kind());
    texts.push_back(event.text());
  }
  EXPECT_THAT(kinds, Each(v1::EVENT_KIND_STALE_WRITE_REFUSED)) << history.Render();
  EXPECT_THAT(texts, IsSupersetOf({StartsWith("CommitPublish: "), StartsWith("BeginPublish: "),
                                   StartsWith("Complete: ")}));
  late.Signal(SIGTERM);
  ExpectToldThatTheLeaseEnded(late.Wait(kDeadlineSeconds), end->token());
}

}  // namespace
}  // namespace retort
