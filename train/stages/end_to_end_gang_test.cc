// Stage 3 on several ranks, each a thread of this test.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <mutex>

#include "train/parallel/testing_ranks.h"
#include "train/stages/end_to_end.h"
#include "train/stages/testing_tiny.h"

namespace retort {
namespace {

constexpr int64_t kSteps = 4;

struct Trained {
  TensorMap student;
  std::vector<double> losses;
};

class GangTest : public testing::Test {
 protected:
  StagePlan PlanOf(v1::TrainScope scope, int64_t micro_batches) {
    StagePlan plan = TinyPlan(Stage::kEndToEnd);
    plan.scope = scope;
    plan.micro_batches = micro_batches;
    return plan;
  }

  Trained Alone(const StagePlan& plan) {
    LanguageModel student = TinyStudent(teacher_, job_);
    EndToEnd stage(plan, teacher_, student, batches_);
    return Train(stage, student, nullptr);
  }

  // What each rank has in the end.
  std::vector<Trained> InRanks(const StagePlan& plan, int world_size) {
    std::vector<Trained> trained(world_size);
    WithRanks(world_size, [&](RankGroup& group) {
      LanguageModel student = TinyStudent(teacher_, job_);
      EndToEnd stage(plan, teacher_, student, batches_);
      trained[group.rank()] = Train(stage, student, &group);
    });
    return trained;
  }

  static Trained Train(EndToEnd& stage, LanguageModel& student, RankGroup* group) {
    Trained trained;
    stage.Join(group);
    for (int64_t step = 0; step < kSteps; ++step) {
      const absl::StatusOr<double> loss = stage.Step(step, kGoOn);
      EXPECT_TRUE(loss.ok()) << loss.status();
      trained.losses.push_back(loss.value_or(std::nan("")));
    }
    trained.student = Snapshot(student);
    return trained;
  }

  // Only the order of sums differs: relative to what stage 3 changes, some 1e-7 a step.
  static void ExpectAlike(const Trained& one, const Trained& other) {
    for (int64_t step = 0; step < kSteps; ++step) {
      EXPECT_NEAR(one.losses[step], other.losses[step], 1e-4 * other.losses[step]) << step;
    }
  }

  const v1::JobSpec job_ = TinyJob();
  const LanguageModel teacher_ = TinyTeacher();
  const Batches batches_ = TinyBatches(job_);
};

TEST_F(GangTest, TrainsOnWhatOneRankWouldAndToTheSameBytesOnAllRanks) {
  for (const v1::TrainScope scope : {v1::TRAIN_SCOPE_MIXER, v1::TRAIN_SCOPE_ALL}) {
    const StagePlan plan = PlanOf(scope, 4);
    const Trained alone = Alone(plan);
    const std::vector<Trained> ranks = InRanks(plan, 2);
    ExpectAlike(ranks[0], alone);
    ExpectSameBits(ranks[0].student, ranks[1].student);
    EXPECT_EQ(ranks[0].losses, ranks[1].losses);
  }
}

TEST_F(GangTest, CheckpointsActivationsToTheSameBytes) {
  StagePlan plan = PlanOf(v1::TRAIN_SCOPE_MIXER, 4);
  const std::vector<Trained> kept = InRanks(plan, 2);
  plan.activation_checkpointing = true;
  ExpectSameBits(InRanks(plan, 2)[1].student, kept[0].student);
}

TEST_F(GangTest, SharesOutOneMicroBatchToo) {
  const StagePlan plan = PlanOf(v1::TRAIN_SCOPE_MIXER, 1);
  const std::vector<Trained> ranks = InRanks(plan, 2);
  ExpectAlike(ranks[0], Alone(plan));
  ExpectSameBits(ranks[0].student, ranks[1].student);
}

TEST_F(GangTest, SharesOutPassesThatDoNotDivide) {
  const StagePlan plan = PlanOf(v1::TRAIN_SCOPE_MIXER, 5);
  const std::vector<Trained> ranks = InRanks(plan, 3);
  ExpectAlike(ranks[0], Alone(plan));
  ExpectSameBits(ranks[0].student, ranks[2].student);
}

TEST_F(GangTest, GivesTheSameBytesEveryTime) {
  const StagePlan plan = PlanOf(v1::TRAIN_SCOPE_MIXER, 4);
  ExpectSameBits(InRanks(plan, 2)[0].student, InRanks(plan, 2)[1].student);
}

TEST_F(GangTest, AppliesNoStepWhenAPeerHasGoneAndGoesOnAlone) {
  const StagePlan plan = PlanOf(v1::TRAIN_SCOPE_MIXER, 4);
  const Trained alone = Alone(plan);
  WithRanks(2, [&](RankGroup& group) {
    if (group.rank() == 1) return;
    LanguageModel student = TinyStudent(teacher_, job_);
    EndToEnd stage(plan, teacher_, student, batches_);
    stage.Join(&group);
    EXPECT_TRUE(absl::IsUnavailable(stage.Step(0, kGoOn).status()));
    ExpectSameBits(Train(stage, student, nullptr).student, alone.student);
  });
}

}  // namespace
}  // namespace retort
