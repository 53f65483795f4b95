// The orchestrator dies at each crash point of docs/store.md in mid-training.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "core/base/clock.h"
#include "tests/system/cluster_fixture.h"

namespace retort {
namespace {

constexpr ClusterJob kJob{.interval_steps = 20};

struct Death {
  const char* point;
  int passage;  // so many come before the middle of stage 2
};

void PrintTo(const Death& death, std::ostream* out) { *out << death.point << ":" << death.passage; }

class CrashPointTest : public ClusterTest, public testing::WithParamInterface<Death> {};

TEST_P(CrashPointTest, TheOrchestratorsDeathInTrainingChangesNoByte) {
  Cluster cluster(RETORT_BIN_DIR,
                  {absl::StrCat("RETORT_CRASH_AT=", GetParam().point, ":", GetParam().passage)});
  StartWorkers(cluster, {"a", "b"});
  const uint64_t run_id = cluster.Submit(kJob.Spec());
  const RunHistory history(cluster.address(), run_id);
  ASSERT_TRUE(
      Eventually(kDeadlineSeconds, [&] { return !cluster.orchestrator().running() || history.HasEnded(0); }));
  const int64_t death_ms = UnixMilliseconds();
  const ProgramEnd end = cluster.orchestrator().Wait(0);
  EXPECT_EQ(end.exit_code, 137) << end.err;
  cluster.StartOrchestrator();
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id), kJob);
  EXPECT_TRUE(FallsIntoTraining(history, death_ms, kJob)) << history.Render();
}

INSTANTIATE_TEST_SUITE_P(EachPoint, CrashPointTest,
                         testing::Values(Death{"store.before_commit", 60}, Death{"store.after_commit", 60},
                                         Death{"store.before_ingest", 12}, Death{"store.after_ingest", 12},
                                         Death{"store.before_drop", 12}));

}  // namespace
}  // namespace retort
