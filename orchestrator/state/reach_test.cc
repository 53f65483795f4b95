#include "orchestrator/state/reach.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orchestrator/state/run_plan.h"
#include "orchestrator/state/testing_cluster.h"

namespace retort::orchestrator {
namespace {

using testing::Contains;
using testing::HasSubstr;

// Workers on machines, of which some listen on loopback.
class ReachTest : public testing::Test {
 protected:
  void Register(const std::string& name, const std::string& host, const std::string& address) {
    v1::RegisterRequest request = TestCluster::RegistrationOf(name);
    request.mutable_capabilities()->set_host(host);
    request.set_activation_address(address);
    ASSERT_TRUE(
        cluster_.Do(DecideRegister(cluster_.now, cluster_.state, cluster_.options, request)).status.ok());
  }
  const Worker& WorkerNamed(const std::string& name) {
    return *cluster_.state.FindWorker(TestCluster::IdOfWorker(name));
  }
  size_t Ranks(uint32_t world_size) {
    v1::JobSpec job = SixLayerJob("gang");
    job.mutable_stages()->clear_matrix_orientation();
    job.mutable_stages()->clear_hidden_state_alignment();
    job.mutable_stages()->mutable_end_to_end()->set_world_size(world_size);
    run_id_ = cluster_.SubmitPrepared(job, "far");
    size_t ranks = 0;
    for (int round = 0; round < 2; ++round) {
      for (const char* name : {"near", "far", "other"}) {
        if (cluster_.state.FindWorker(TestCluster::IdOfWorker(name)) == nullptr) continue;
        if (cluster_.state.LeaseOf(TestCluster::IdOfWorker(name)) != nullptr) continue;
        ranks += cluster_.TakeSlice(name).token() != 0;
      }
    }
    return ranks;
  }
  const std::string& Reason() { return cluster_.state.placement.run_reason.at(run_id_); }

  TestCluster cluster_;
  uint64_t run_id_ = 0;
};

TEST_F(ReachTest, LoopbackIsReachedFromItsOwnMachineAlone) {
  Register("near", "one", "127.0.0.1:4711");
  Register("beside", "one", "[::1]:4711");
  Register("far", "two", "10.0.0.2:4711");
  Register("nowhere", "", "127.0.0.1:4712");
  EXPECT_TRUE(IsReachedFrom(WorkerNamed("near"), WorkerNamed("beside")));
  EXPECT_TRUE(IsReachedFrom(WorkerNamed("beside"), WorkerNamed("near")));
  EXPECT_TRUE(IsReachedFrom(WorkerNamed("far"), WorkerNamed("near")));
  EXPECT_FALSE(IsReachedFrom(WorkerNamed("near"), WorkerNamed("far")));
  EXPECT_FALSE(IsReachedFrom(WorkerNamed("beside"), WorkerNamed("far")));
  EXPECT_FALSE(IsReachedFrom(WorkerNamed("nowhere"), WorkerNamed("near")));
  EXPECT_TRUE(IsReachedFrom(WorkerNamed("nowhere"), WorkerNamed("nowhere")));
}

TEST_F(ReachTest, AGangHasNoRankThatTheOthersDoNotReach) {
  Register("near", "one", "127.0.0.1:4711");
  Register("far", "two", "10.0.0.2:4711");
  EXPECT_EQ(Ranks(2), 0u);
  EXPECT_THAT(Reason(),
              HasSubstr("end_to_end waits for 1 more worker: its 2 ranks train together, and 1 of 2 "
                        "workers can be ranks together"));
  EXPECT_THAT(Reason(), HasSubstr("worker near listens on 127.0.0.1:4711, which other machines do not reach: "
                                  "start it with --host ADDRESS"));
}

TEST_F(ReachTest, AutoTakesThoseThatReachEachOther) {
  Register("near", "one", "127.0.0.1:4711");
  Register("far", "two", "10.0.0.2:4711");
  Register("other", "three", "10.0.0.3:4711");
  EXPECT_EQ(Ranks(0), 2u);
  EXPECT_EQ(cluster_.state.LeaseOf(TestCluster::IdOfWorker("near")), nullptr);
}

TEST_F(ReachTest, NobodyRelaysWhileOneIsNotReachedAndThePlanSaysWhich) {
  Register("near", "one", "127.0.0.1:4711");
  Register("far", "two", "10.0.0.2:4711");
  v1::PlanRequest request;
  *request.mutable_job()->mutable_job() = SixLayerJob();
  *request.mutable_job()->mutable_shape() = ShapeOf(6);
  const auto plan = MakePlan(cluster_.now, cluster_.state, cluster_.options, request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->reasons(), Contains(HasSubstr("input is recomputed, because worker near listens on "
                                                  "127.0.0.1:4711, which other machines do not reach")));
}

}  // namespace
}  // namespace retort::orchestrator
