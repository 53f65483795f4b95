// Each thing that must never be is planted once.
#include "orchestrator/state/invariants.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orchestrator/state/testing_cluster.h"

namespace retort::orchestrator {
namespace {

using testing::Contains;
using testing::ElementsAre;

constexpr TaskId kLayer3 = {v1::STAGE_MATRIX_ORIENTATION, 3};

class Invariants : public testing::Test {
 protected:
  Invariants() {
    cluster_.Register("a");
    run_id_ = cluster_.SubmitPrepared(SixLayerJob(), "a");
    token_ = cluster_.TakeSlice("a").token();
    cluster_.Publish("a", token_, {3}, 20);
    state_ = cluster_.state;
  }

  v1::TaskRecord& Row(TaskId id) { return state_.runs[run_id_].tasks[id]; }
  Lease& TheLease() { return state_.leases[token_]; }

  TestCluster cluster_;
  uint64_t run_id_ = 0;
  uint64_t token_ = 0;
  State state_;
};

TEST_F(Invariants, FindNothingWrong) { EXPECT_THAT(CheckInvariants(state_), ElementsAre()); }

TEST_F(Invariants, FindARowWithoutItsLease) {
  state_.leases.clear();
  EXPECT_THAT(CheckInvariants(state_),
              Contains("run 1 matrix_orientation layer 3 is LEASED under token 2, which has no lease"));
}

TEST_F(Invariants, FindARowThatSomebodyElseHolds) {
  Lease other = TheLease();
  other.record.set_token(3);
  other.record.set_first_layer(3);
  other.record.set_layer_count(1);
  state_.next_token = 4;
  state_.leases[3] = other;
  Row(kLayer3).set_token(3);
  const auto wrong = CheckInvariants(state_);
  EXPECT_THAT(wrong, Contains("lease 2 spans run 1 matrix_orientation layer 3, which is not its own"));
  EXPECT_THAT(wrong, Contains("worker a holds two leases"));
}

TEST_F(Invariants, FindATokenOfTheFuture) {
  state_.next_token = 2;
  EXPECT_THAT(CheckInvariants(state_), Contains("lease 2 is of the future"));
}

TEST_F(Invariants, FindAnUnfinishedRowThatIsDone) {
  Row(kLayer3).set_state(v1::TASK_STATE_DONE);
  EXPECT_THAT(CheckInvariants(state_), Contains("run 1 matrix_orientation layer 3 is DONE at step 20"));
}

TEST_F(Invariants, FindStageTwoBeforeStageOne) {
  Row({v1::STAGE_HIDDEN_STATE_ALIGNMENT, 3}).set_token(1);
  EXPECT_THAT(CheckInvariants(state_),
              Contains("run 1 hidden_state_alignment layer 3 was granted before its stage 1 was done"));
}

TEST_F(Invariants, FindAYieldFromTheMiddle) {
  TheLease().yield = Yield{v1::END_CAUSE_RECUT, {3}, "", std::nullopt};
  EXPECT_THAT(CheckInvariants(state_), Contains("lease 2 is asked for layer 3 from its middle"));
}

TEST_F(Invariants, FindARunThatDoesNotSayWhatItIs) {
  v1::RunRecord& run = state_.runs[run_id_].record;
  run.set_state(v1::RUN_STATE_PAUSED);
  EXPECT_THAT(CheckInvariants(state_), Contains("six (run 1) is RUN_STATE_PAUSED with 1 leases"));
  run.set_state(v1::RUN_STATE_SUCCEEDED);
  EXPECT_THAT(CheckInvariants(state_), Contains("six (run 1) SUCCEEDED with 1 of 14 tasks done"));
  run.set_state(v1::RUN_STATE_FAILED);
  EXPECT_THAT(CheckInvariants(state_), Contains("six (run 1) FAILED without a failed task"));
}

TEST_F(Invariants, FindWhatFell) {
  Row(kLayer3).set_step(19);
  EXPECT_THAT(CheckProgress(cluster_.state, state_),
              ElementsAre("run 1 matrix_orientation layer 3 fell from step 20 to 19"));
  Row(kLayer3).set_step(20);
  Row(kLayer3).set_token(1);
  Row(kPrepare).set_state(v1::TASK_STATE_PENDING);
  state_.runs[run_id_].record.set_identity_sha256("another");
  const auto wrong = CheckProgress(cluster_.state, state_);
  EXPECT_THAT(wrong, Contains("run 1 matrix_orientation layer 3 fell from token 2 to 1"));
  EXPECT_THAT(wrong, Contains("run 1 prepare layer 0 was DONE"));
  EXPECT_THAT(wrong, Contains("run 1 changed its identity"));
}

TEST_F(Invariants, FindANumberOfRanksThatChangedWhereAStepIsReported) {
  State before = state_;
  before.runs[run_id_].record.set_world_size(2);
  state_.runs[run_id_].record.set_world_size(1);
  const std::string wrong = "run 1 changed its number of ranks after a step";
  EXPECT_THAT(CheckProgress(before, state_), testing::Not(Contains(wrong)));
  TheLease().record.set_stage(v1::STAGE_END_TO_END);
  TheLease().progress.add_layers()->set_step(1);
  EXPECT_THAT(CheckProgress(before, state_), Contains(wrong));
}

}  // namespace
}  // namespace retort::orchestrator
