// A worker that stands still for longer than its lease, and then goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/system/cluster_fixture.h"

namespace retort {
namespace {

TEST_F(ClusterTest, AWorkerThatWakesAfterItsLeaseWritesNothing) {
  constexpr ClusterJob kJob{.alignment_steps = 400,
                            .interval_steps = 1};  // a publish is nearly always under way
  Cluster cluster(RETORT_BIN_DIR);
  StartWorkers(cluster, {"a", "b"});
  const uint64_t run_id = cluster.Submit(kJob.Spec());
  const RunHistory history(cluster.address(), run_id);
  const std::string victim = StopInStageTwo(cluster, history, kJob);
  ASSERT_NE(victim, "");
  // The lease expires, and the other worker has the layer.
  std::vector<v1::Event> expired;
  ASSERT_TRUE(Eventually(kDeadlineSeconds, [&] {
    expired = EndedMidTraining(history, victim, v1::END_CAUSE_INFRASTRUCTURE, kJob);
    return !expired.empty();
  })) << history.Render();
  ASSERT_EQ(expired.size(), 1u) << history.Render();
  const v1::Event& end = expired.front();
  const auto is_taken_over = [&] {
    const auto granted = history.OfKind(v1::EVENT_KIND_LEASE_GRANTED);
    return std::any_of(granted.begin(), granted.end(), [&](const v1::Event& event) {
      return event.sequence() > end.sequence() && event.stage() == end.stage() &&
             std::count(event.layers().begin(), event.layers().end(), end.layers(0)) > 0;
    });
  };
  ASSERT_TRUE(Eventually(kDeadlineSeconds, is_taken_over)) << history.Render();
  cluster.worker(victim).Signal(SIGCONT);
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id), kJob);
  for (const v1::Event& event : history.events()) {
    const bool is_late = event.sequence() > end.sequence() && event.token() == end.token();
    EXPECT_TRUE(!is_late || event.kind() == v1::EVENT_KIND_STALE_WRITE_REFUSED) << history.Render();
  }
  const ProgramEnd woken = cluster.EndWorker(victim, SIGTERM);
  EXPECT_EQ(woken.exit_code, 0) << woken.err;
  EXPECT_THAT(woken.err, testing::HasSubstr(absl::StrCat("told to stop: the lease under token ", end.token(),
                                                         " has ended")));
}

}  // namespace
}  // namespace retort
