// Slices that relay, while one of their workers stands still, goes away or is joined by another: who is below
// is missed and found again, who is above holds nobody up, and no byte changes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <map>
#include <optional>

#include "tests/system/cluster_fixture.h"

namespace retort {
namespace {

using testing::HasSubstr;

constexpr ClusterJob kJob{.orientation_steps = 20, .alignment_steps = 3000, .interval_steps = 50};

class RelayFaults : public ClusterTest {
 protected:
  RelayFaults() {
    StartWorkers(cluster_, {"a", "b", "c"});
    run_id_ = cluster_.Submit(kJob.Spec());
    history_.emplace(cluster_.address(), run_id_);
    EXPECT_TRUE(Eventually(kDeadlineSeconds, [this] {
      return Published(HolderOf(0)) > 0 && Published(HolderOf(3)) > 0;
    })) << history_->Render();
  }

  // Who has, or had last, stage 2 of the layer.
  std::string HolderOf(uint32_t layer) const {
    std::string holder;
    for (const v1::Event& grant : history_->OfKind(v1::EVENT_KIND_LEASE_GRANTED)) {
      const bool has = std::count(grant.layers().begin(), grant.layers().end(), layer) > 0;
      if (grant.stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT && has) holder = grant.worker_name();
    }
    return holder;
  }
  // The last step that the worker has published in stage 2.
  uint64_t Published(const std::string& worker) const {
    uint64_t step = 0;
    for (const v1::Event& event : history_->OfKind(v1::EVENT_KIND_CHECKPOINT_PUBLISHED)) {
      if (event.stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT && event.worker_name() == worker) {
        step = std::max(step, event.steps(0));
      }
    }
    return step;
  }
  // The same, before a lease of `other`'s ended: what came later may be due to that.
  uint64_t PublishedWhileLeased(const std::string& worker, const std::string& other) const {
    uint64_t step = 0;
    for (const v1::Event& event : history_->events()) {
      if (event.stage() != v1::STAGE_HIDDEN_STATE_ALIGNMENT) continue;
      if (event.kind() == v1::EVENT_KIND_LEASE_ENDED && event.worker_name() == other) break;
      if (event.kind() == v1::EVENT_KIND_CHECKPOINT_PUBLISHED && event.worker_name() == worker) {
        step = std::max(step, event.steps(0));
      }
    }
    return step;
  }
  void ExpectTheStudentOfOneWorker() {
    ExpectTheUndisturbedStudent(ResultOf(cluster_, *history_, run_id_), kJob);
  }
  std::string LogOf(const std::string& worker) { return cluster_.EndWorker(worker, SIGTERM).err; }

  Cluster cluster_{RETORT_BIN_DIR, {}, {"--relay", "always"}};
  uint64_t run_id_ = 0;
  std::optional<RunHistory> history_;
};

TEST_F(RelayFaults, AnUpstreamThatStandsStillIsDoneWithoutAndUsedAgain) {
  const std::string below = HolderOf(2), above = HolderOf(3);
  ASSERT_NE(below, above);
  cluster_.worker(below).Signal(SIGSTOP);
  // In the relay's own time, 5 s; its lease lasts 20 s.
  EXPECT_TRUE(Eventually(kDeadlineSeconds, [&] {
    return cluster_.worker(above).err().find("no worker below answers") != std::string::npos;
  }));
  const uint64_t step = Published(above);
  EXPECT_TRUE(Eventually(kDeadlineSeconds, [&] { return Published(above) > step || history_->HasEnded(0); }));
  EXPECT_GT(PublishedWhileLeased(above, below), step) << history_->Render();
  cluster_.worker(below).Signal(SIGCONT);
  ExpectTheStudentOfOneWorker();
  EXPECT_THAT(LogOf(above), HasSubstr("the worker below answers again"));
}

TEST_F(RelayFaults, ADownstreamThatStandsStillHoldsNobodyUpAndCatchesUp) {
  const std::string below = HolderOf(0), above = HolderOf(3);
  ASSERT_NE(below, above);
  cluster_.worker(above).Signal(SIGSTOP);
  const uint64_t step = Published(above);
  // In the relay's own time, three heartbeats of 2 s. By its lead of 16 the one below comes to 66 steps
  // beyond what the other has published, one interval before where it stands.
  EXPECT_TRUE(Eventually(kDeadlineSeconds, [&] { return Published(below) >= step + 100; }));
  EXPECT_GE(PublishedWhileLeased(below, above), step + 100) << history_->Render();
  constexpr uint64_t kFarBehind = 300;  // many times the lead
  EXPECT_TRUE(Eventually(kDeadlineSeconds, [&] { return Published(below) > step + kFarBehind; }))
      << history_->Render();
  cluster_.worker(above).Signal(SIGCONT);
  ExpectTheStudentOfOneWorker();
}

TEST_F(RelayFaults, AWorkerThatLeavesAndOneThatComesChangeNoByte) {
  const std::string leaver = HolderOf(2);
  EXPECT_EQ(cluster_.EndWorker(leaver, SIGTERM).exit_code, 0);
  cluster_.StartWorker("d", TinyJobDirectory());
  ExpectTheStudentOfOneWorker();
  EXPECT_FALSE(EndedMidTraining(*history_, leaver, v1::END_CAUSE_PREEMPTION, kJob).empty())
      << history_->Render();
}

TEST_F(RelayFaults, AnOrchestratorThatDiesDoesNotStopTheRelay) {
  EXPECT_EQ(cluster_.EndOrchestrator(SIGKILL).signal, SIGKILL);
  cluster_.StartOrchestrator();
  ExpectTheStudentOfOneWorker();
  EXPECT_EQ(history_->OfKind(v1::EVENT_KIND_TASK_RETRIED).size(), 0u) << history_->Render();
}

}  // namespace
}  // namespace retort
