#include "train/stages/stage_plan.h"

#include <gtest/gtest.h>

namespace retort {
namespace {

void SetBudget(v1::StageBudget& budget, uint64_t tokens, uint64_t tokens_per_step, double lr) {
  budget.set_tokens(tokens);
  budget.set_tokens_per_step(tokens_per_step);
  budget.set_lr(lr);
}

v1::JobSpec ThreeStages() {
  v1::JobSpec job;
  job.set_micro_batch(2);
  job.mutable_data()->set_seq_len(64);
  v1::StagesSpec& stages = *job.mutable_stages();
  SetBudget(*stages.mutable_matrix_orientation()->mutable_budget(), 1024, 512, 1e-3);
  SetBudget(*stages.mutable_hidden_state_alignment()->mutable_budget(), 1025, 512, 2e-3);
  stages.mutable_hidden_state_alignment()->set_target(v1::ALIGNMENT_TARGET_BLOCK);
  stages.mutable_hidden_state_alignment()->set_train(v1::TRAIN_SCOPE_BLOCK);
  SetBudget(*stages.mutable_end_to_end()->mutable_budget(), 100, 128, 3e-3);
  stages.mutable_end_to_end()->set_train(v1::TRAIN_SCOPE_ALL);
  stages.mutable_end_to_end()->set_labels(v1::LABELS_TEXT);
  return job;
}

TEST(PlanStages, CountsStepsUpToTheWholeBudget) {
  const auto plans = PlanStages(ThreeStages());
  ASSERT_EQ(plans.size(), 3u);
  EXPECT_EQ(plans[0].steps, 2);
  EXPECT_EQ(plans[1].steps, 3);
  EXPECT_EQ(plans[2].steps, 1);
}

TEST(PlanStages, DerivesAccumulationFromTokensPerStep) {
  const auto plans = PlanStages(ThreeStages());
  EXPECT_EQ(plans[0].micro_batches, 4);
  EXPECT_EQ(plans[0].micro_batch, 2);
  EXPECT_EQ(plans[0].seq_len, 64);
  EXPECT_EQ(plans[0].tokens_per_step(), 512);
  EXPECT_EQ(plans[2].micro_batches, 1);
}

TEST(PlanStages, CarriesEachStagesOwnSettings) {
  const auto plans = PlanStages(ThreeStages());
  EXPECT_EQ(plans[0].stage, Stage::kMatrixOrientation);
  EXPECT_EQ(plans[0].lr, 1e-3);
  EXPECT_EQ(plans[1].stage, Stage::kHiddenStateAlignment);
  EXPECT_EQ(plans[1].lr, 2e-3);
  EXPECT_EQ(plans[1].target, v1::ALIGNMENT_TARGET_BLOCK);
  EXPECT_EQ(plans[1].scope, v1::TRAIN_SCOPE_BLOCK);
  EXPECT_EQ(plans[2].stage, Stage::kEndToEnd);
  EXPECT_EQ(plans[2].lr, 3e-3);
  EXPECT_EQ(plans[2].scope, v1::TRAIN_SCOPE_ALL);
  EXPECT_EQ(plans[2].labels, v1::LABELS_TEXT);
}

TEST(PlanStages, LeavesOutWhatTheJobDoesNotAskFor) {
  v1::JobSpec job = ThreeStages();
  job.mutable_stages()->clear_hidden_state_alignment();
  const auto plans = PlanStages(job);
  ASSERT_EQ(plans.size(), 2u);
  EXPECT_EQ(plans[0].stage, Stage::kMatrixOrientation);
  EXPECT_EQ(plans[1].stage, Stage::kEndToEnd);
}

TEST(StagePlan, NumbersSequencesWithoutGapOrOverlap) {
  const StagePlan plan = PlanStages(ThreeStages())[0];
  int64_t expected = 0;
  for (int64_t step = 0; step < 3; ++step) {
    for (int64_t pass = 0; pass < plan.micro_batches; ++pass) {
      EXPECT_EQ(plan.first_sequence(step, pass), expected);
      expected += plan.micro_batch;
    }
  }
}

// Batches are drawn from these numbers: other numbers would change every run's data.
TEST(Stage, KeepsItsNumbers) {
  EXPECT_EQ(static_cast<int>(Stage::kMatrixOrientation), 1);
  EXPECT_EQ(static_cast<int>(Stage::kHiddenStateAlignment), 2);
  EXPECT_EQ(static_cast<int>(Stage::kEndToEnd), 3);
}

TEST(StageName, IsTheJobFilesKey) {
  EXPECT_STREQ(StageName(Stage::kMatrixOrientation), "matrix_orientation");
  EXPECT_STREQ(StageName(Stage::kHiddenStateAlignment), "hidden_state_alignment");
  EXPECT_STREQ(StageName(Stage::kEndToEnd), "end_to_end");
}

StagePlan Passes(int64_t micro_batches, int64_t micro_batch, int64_t ranks) {
  StagePlan plan = {};
  plan.micro_batches = micro_batches;
  plan.micro_batch = micro_batch;
  return SharedOut(plan, ranks);
}

TEST(SharedOut, LeavesOneRankItsPasses) {
  const StagePlan plan = Passes(3, 4, 1);
  EXPECT_EQ(plan.micro_batches, 3);
  EXPECT_EQ(plan.micro_batch, 4);
}

TEST(SharedOut, CutsPassesWhereRanksWouldHaveNoneOrFewer) {
  const StagePlan one_pass = Passes(1, 4, 2);
  EXPECT_EQ(one_pass.micro_batches, 2);
  EXPECT_EQ(one_pass.micro_batch, 2);
  const StagePlan uneven = Passes(3, 4, 2);
  EXPECT_EQ(uneven.micro_batches, 4);
  EXPECT_EQ(uneven.micro_batch, 3);
}

TEST(SharedOut, GivesSomeRanksMoreWhereItMust) {
  const StagePlan plan = Passes(2, 4, 3);
  EXPECT_EQ(plan.micro_batches, 4);
  EXPECT_EQ(plan.micro_batch, 2);
}

}  // namespace
}  // namespace retort
