// Real processes on loopback: however many workers there are, and whichever process is killed or told to go,
// the student has the same bytes.
#include <gtest/gtest.h>
#include <signal.h>

#include <set>

#include "core/base/clock.h"
#include "tests/system/cluster_fixture.h"

namespace retort {
namespace {

TEST_F(ClusterTest, ThreeWorkersMakeTheStudentOfOne) {
  Cluster cluster(RETORT_BIN_DIR);
  StartWorkers(cluster, {"a", "b", "c"});
  const uint64_t run_id = cluster.Submit(ClusterJob().Spec());
  const RunHistory history(cluster.address(), run_id);
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id));
  std::set<std::string> trained;
  for (const v1::Event& event : history.OfKind(v1::EVENT_KIND_TASK_COMPLETED)) {
    if (event.stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT) trained.insert(event.worker_name());
  }
  EXPECT_GE(trained.size(), 2u) << history.Render();  // how many of three pay off depends on their speeds
}

TEST_F(ClusterTest, AWorkerKilledInStageTwoChangesNoByte) {
  Cluster cluster(RETORT_BIN_DIR);
  StartWorkers(cluster, {"a", "b"});
  const uint64_t run_id = cluster.Submit(ClusterJob().Spec());
  const RunHistory history(cluster.address(), run_id);
  const std::string victim = StopInStageTwo(cluster, history);
  ASSERT_NE(victim, "");
  EXPECT_EQ(cluster.EndWorker(victim, SIGKILL).signal, SIGKILL);
  cluster.StartWorker(victim, TinyJobDirectory());  // its name ends the dead one's lease
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id));
  EXPECT_FALSE(EndedMidTraining(history, victim, v1::END_CAUSE_INFRASTRUCTURE).empty()) << history.Render();
}

TEST_F(ClusterTest, AnOrchestratorKilledInStageTwoChangesNoByte) {
  Cluster cluster(RETORT_BIN_DIR);
  StartWorkers(cluster, {"a", "b"});
  const uint64_t run_id = cluster.Submit(ClusterJob().Spec());
  const RunHistory history(cluster.address(), run_id);
  const std::string held_up = StopInStageTwo(cluster, history);
  ASSERT_NE(held_up, "");
  const int64_t death_ms = UnixMilliseconds();
  EXPECT_EQ(cluster.EndOrchestrator(SIGKILL).signal, SIGKILL);
  cluster.worker(held_up).Signal(SIGCONT);
  cluster.StartOrchestrator();
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id));
  EXPECT_TRUE(FallsIntoTraining(history, death_ms)) << history.Render();
  EXPECT_EQ(history.OfKind(v1::EVENT_KIND_TASK_RETRIED).size(), 0u) << history.Render();
}

TEST_F(ClusterTest, AWorkerToldToGoInStageTwoSavesAndChangesNoByte) {
  Cluster cluster(RETORT_BIN_DIR);
  StartWorkers(cluster, {"a", "b"});
  const uint64_t run_id = cluster.Submit(ClusterJob().Spec());
  const RunHistory history(cluster.address(), run_id);
  const std::string leaver = StopInStageTwo(cluster, history);
  ASSERT_NE(leaver, "");
  const ProgramEnd end = cluster.EndWorker(leaver, SIGTERM);
  EXPECT_EQ(end.exit_code, 0) << end.err;
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id));
  EXPECT_FALSE(EndedMidTraining(history, leaver, v1::END_CAUSE_PREEMPTION).empty()) << history.Render();
}

}  // namespace
}  // namespace retort
