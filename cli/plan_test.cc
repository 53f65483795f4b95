#include "cli/plan.h"

#include "gtest/gtest.h"

namespace retort {
namespace {

v1::StageBudget Budget(uint64_t tokens, uint64_t tokens_per_step, double lr) {
  v1::StageBudget budget;
  budget.set_tokens(tokens);
  budget.set_tokens_per_step(tokens_per_step);
  budget.set_lr(lr);
  return budget;
}

v1::JobSpec SmallJob() {
  v1::JobSpec job;
  job.mutable_data()->set_seq_len(256);
  job.set_micro_batch(2);
  return job;
}

TEST(RenderPlan, RoundsStepsUpAndDerivesTheAccumulation) {
  v1::JobSpec job = SmallJob();
  *job.mutable_stages()->mutable_matrix_orientation()->mutable_budget() = Budget(4097, 1024, 1e-3);
  *job.mutable_stages()->mutable_end_to_end()->mutable_budget() = Budget(2048, 512, 7.5e-4);
  EXPECT_EQ(RenderPlan(job),
            "STAGE                STEPS   TOKENS   TOKENS_PER_STEP   ACCUMULATION        LR\n"
            "matrix_orientation       5     5120              1024              2     0.001\n"
            "end_to_end               4     2048               512              1   0.00075\n");
}

TEST(RenderPlan, ListsStagesInTheOrderTheyRun) {
  v1::JobSpec job = SmallJob();
  *job.mutable_stages()->mutable_end_to_end()->mutable_budget() = Budget(512, 512, 1);
  *job.mutable_stages()->mutable_hidden_state_alignment()->mutable_budget() = Budget(512, 512, 1);
  const std::string plan = RenderPlan(job);
  EXPECT_LT(plan.find("hidden_state_alignment"), plan.find("end_to_end"));
  EXPECT_EQ(plan.find("matrix_orientation"), std::string::npos);
}

TEST(RenderPlan, ShowsCountsBeyond32Bits) {
  v1::JobSpec job = SmallJob();
  *job.mutable_stages()->mutable_end_to_end()->mutable_budget() = Budget(8'000'000'000, 524288, 1e-4);
  EXPECT_NE(RenderPlan(job).find("15259   8000110592 "), std::string::npos);
}

}  // namespace
}  // namespace retort
