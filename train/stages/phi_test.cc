// A Phi teacher (parallel blocks, LayerNorm, biases everywhere) and the paper's mixer through the stages.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "train/stages/end_to_end.h"
#include "train/stages/losses.h"
#include "train/stages/slice.h"
#include "train/stages/testing_tiny.h"

namespace retort {
namespace {

using testing::IsSupersetOf;

v1::JobSpec PhiJob() {
  v1::JobSpec job = TinyJob();
  job.mutable_student()->set_mixer(v1::MIXER_KIND_DISCRETE_MAMBA2);
  job.mutable_student()->set_groups(0);
  job.mutable_student()->clear_keep_attention();
  job.mutable_student()->set_init(v1::STUDENT_INIT_PAPER);
  return job;
}

class PhiTest : public testing::Test {
 protected:
  StagePlan Plan(Stage stage) const { return PlanStages(job_)[static_cast<int>(stage) - 1]; }

  BlockTaps Taps(const StagePlan& plan, int64_t layer) const {
    const c10::NoGradGuard no_grad;
    const at::Tensor ids_BT = ReadMicroBatch(plan, batches_, 0).value();
    at::Tensor hidden = Embed(teacher_, ids_BT);
    BlockTaps taps;
    for (int64_t l = 0; l <= layer; ++l) {
      hidden = RunBlock(teacher_, l, hidden, RotaryFor(teacher_, ids_BT.size(1)), &taps);
    }
    return taps;
  }

  // Names, below the layer's prefix, of what a stage trains in layer 1.
  std::vector<std::string> Trained(const StagePlan& plan) {
    std::vector<std::string> names;
    for (const Trainable& trainable : LayerTrainables(plan, student_, 1)) {
      names.push_back(trainable.name.substr(std::string("model.layers.1.").size()));
    }
    return names;
  }

  v1::JobSpec job_ = PhiJob();
  LanguageModel teacher_ =
      LoadTeacher(TinyDirectory().parent_path() / "teachers/phi").value();  // vocabulary 512, as the text's
  LanguageModel student_ = TinyStudent(teacher_, job_);
  const Batches batches_ = TinyBatches(job_);
};

// The block's input and its MLP, which reads the same norm's output, are the same on both sides and cancel.
TEST_F(PhiTest, MixerAndBlockLossesOfAParallelBlockAgree) {
  StagePlan plan = Plan(Stage::kHiddenStateAlignment);
  const BlockTaps taps = Taps(plan, 1);
  std::vector<double> losses;
  std::vector<TensorMap> gradients;
  for (const auto target : {v1::ALIGNMENT_TARGET_MIXER, v1::ALIGNMENT_TARGET_BLOCK}) {
    plan.target = target;
    LayerTrainer trainer(plan, student_, 1);
    losses.push_back(trainer.Accumulate(0, taps, RotaryFor(teacher_, plan.seq_len)).value());
    TensorMap& of_target = gradients.emplace_back();
    for (const Trainable& trainable : trainer.optimizer().trainables()) {
      of_target[trainable.name] = trainable.value.grad().clone();
    }
  }
  EXPECT_GT(losses[0], 0.1);
  EXPECT_NEAR(losses[0], losses[1], 1e-5 * losses[0]);
  for (const auto& [name, gradient] : gradients[0]) {
    const double largest = gradient.abs().max().item<double>();
    EXPECT_LT((gradient - gradients[1].at(name)).abs().max().item<double>(), 1e-4 * largest) << name;
  }
}

TEST_F(PhiTest, StagesTrainWhatTheirLossesReach) {
  EXPECT_THAT(Trained(Plan(Stage::kMatrixOrientation)),
              testing::UnorderedElementsAre("mamba.b_proj.weight", "mamba.c_proj.weight",
                                            "mamba.a_proj.weight", "mamba.conv_b.weight", "mamba.conv_b.bias",
                                            "mamba.conv_c.weight", "mamba.conv_c.bias", "mamba.D"));
  EXPECT_EQ(Trained(Plan(Stage::kHiddenStateAlignment)).size(), 14u);
  StagePlan block = Plan(Stage::kHiddenStateAlignment);
  block.scope = v1::TRAIN_SCOPE_BLOCK;
  EXPECT_THAT(Trained(block),
              IsSupersetOf({"mamba.z_bias", "input_layernorm.weight", "input_layernorm.bias",
                            "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"}));
}

TEST_F(PhiTest, EachStageLowersItsLoss) {
  for (const Stage stage : {Stage::kMatrixOrientation, Stage::kHiddenStateAlignment}) {
    const StagePlan plan = Plan(stage);
    Slice slice(plan, teacher_, student_, batches_, {0, 1}, /*side_by_side=*/1);
    double first = 0, last = 0;
    for (int64_t step = 0; step < plan.steps; ++step) {
      const auto done = slice.Step(step, {0, 1}, kGoOn);
      ASSERT_TRUE(done.ok()) << done.status();
      last = done->layers[0].loss + done->layers[1].loss;
      if (step == 0) first = last;
    }
    EXPECT_LT(last, 0.97 * first) << StageName(stage);
  }
  StagePlan plan = Plan(Stage::kEndToEnd);
  plan.scope = v1::TRAIN_SCOPE_ALL;
  const TensorMap before = Snapshot(student_), of_teacher = Snapshot(teacher_);
  EndToEnd training(plan, teacher_, student_, batches_);
  std::vector<double> losses;
  for (int64_t step = 0; step < plan.steps; ++step) {
    const auto loss = training.Step(step, kGoOn);
    ASSERT_TRUE(loss.ok()) << loss.status();
    losses.push_back(*loss);
  }
  EXPECT_LT(losses.back(), 0.97 * losses.front());
  for (const auto& [name, tensor] : TensorsOf(student_)) {
    EXPECT_FALSE(SameBits(tensor.detach(), before.at(name))) << name;  // lm_head.bias too
  }
  ExpectSameBits(TensorsOf(teacher_), of_teacher);
}

// Four query heads on two key/value heads: each query head's matrix has a student's of its own.
TEST(DiscreteStageOne, AlignsTheHeadsOfAGroupedQueryTeacher) {
  const v1::JobSpec job = PhiJob();
  const LanguageModel teacher = TinyTeacher();
  LanguageModel student = TinyStudent(teacher, job);
  ASSERT_EQ(student.config.mamba2.groups, 4);
  const Batches batches = TinyBatches(job);
  const StagePlan plan = PlanStages(job)[0];
  BlockTaps taps;
  {
    const c10::NoGradGuard no_grad;
    const at::Tensor ids_BT = ReadMicroBatch(plan, batches, 0).value();
    RunBlock(teacher, 0, Embed(teacher, ids_BT), RotaryFor(teacher, plan.seq_len), &taps);
  }
  const auto& mixer = std::get<Mamba2Weights>(student.blocks[0].mixer);
  const Mamba2MatrixParts parts = MatrixParts(taps.normed_BTE, mixer, student.config.mamba2);
  const double by_tiles = MatrixOrientationLoss(parts, taps.attention).item<double>();
  const double whole =
      MatrixOrientationLoss(Mamba2Matrix(parts), AttentionMatrix(taps.attention)).item<double>();
  EXPECT_NEAR(by_tiles, whole, 1e-5 * whole);
  Slice slice(plan, teacher, student, batches, {0}, /*side_by_side=*/1);
  double last = 0;
  for (int64_t step = 0; step < plan.steps; ++step) last = slice.Step(step, {0}, kGoOn)->layers[0].loss;
  EXPECT_LT(last, 0.97 * whole);
}

}  // namespace
}  // namespace retort
