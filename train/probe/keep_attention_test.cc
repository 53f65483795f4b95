#include "train/probe/keep_attention.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "train/stages/testing_tiny.h"

namespace retort {
namespace {

constexpr int64_t kSequences = 3;

class KeepAttentionTest : public testing::Test {
 protected:
  KeepAttentionTest() { job_.mutable_student()->clear_keep_attention(); }

  LayerCosts Costs(const LanguageModel& student, int64_t keep) const {
    return MeasureLayerCosts(
               teacher_, student, batches_, kSequences, keep, {}, [](int64_t, int64_t) {}, kGoOn)
        .value();
  }
  // The student with attention again in `layers`.
  LanguageModel Restore(LanguageModel student, const std::vector<int64_t>& layers) const {
    for (const int64_t layer : layers) student.blocks[layer] = teacher_.blocks[layer];
    return student;
  }

  v1::JobSpec job_ = TinyJob();
  const LanguageModel teacher_ = TinyTeacher();
  const Batches batches_ = TinyBatches(job_);
  LanguageModel student_ = TinyStudent(teacher_, job_);
};

// KL(teacher || student) as its definition says, on the probe's text.
double PlainKl(const LanguageModel& teacher, const LanguageModel& student, const Batches& batches) {
  double sum = 0;
  for (int64_t n = 0; n < kSequences; ++n) {
    const at::Tensor ids =
        at::tensor(batches.Sequences(4, n, 1).value(), at::kInt).to(at::kLong).unsqueeze(0);
    const at::Tensor log_t = at::log_softmax(Logits(teacher, ids).to(at::kDouble), -1);
    const at::Tensor log_s = at::log_softmax(Logits(student, ids).to(at::kDouble), -1);
    sum += (log_t.exp() * (log_t - log_s)).sum(-1).mean().item<double>();
  }
  return sum / kSequences;
}

TEST_F(KeepAttentionTest, MeasuresEachLayerAloneAndAllTogether) {
  const LayerCosts costs = Costs(student_, 1);
  EXPECT_NEAR(costs.all, PlainKl(teacher_, student_, batches_), 1e-5);
  ASSERT_EQ(costs.alone.size(), 4u);
  EXPECT_NEAR(costs.alone[2], PlainKl(teacher_, Restore(student_, {0, 1, 3}), batches_), 1e-5);
}

TEST_F(KeepAttentionTest, RestoresTheLayerThatBringsTheStudentNearest) {
  const LayerCosts costs = Costs(student_, 2);
  ASSERT_EQ(costs.restored.size(), 2u);
  std::vector<double> one;
  for (int64_t l = 0; l < 4; ++l) one.push_back(PlainKl(teacher_, Restore(student_, {l}), batches_));
  const int64_t first = std::min_element(one.begin(), one.end()) - one.begin();
  EXPECT_EQ(costs.restored[0].layer, first);
  EXPECT_NEAR(costs.restored[0].kl, one[first], 1e-5);
  EXPECT_NE(costs.restored[1].layer, first);
  EXPECT_NEAR(costs.restored[1].kl,
              PlainKl(teacher_, Restore(student_, {first, costs.restored[1].layer}), batches_), 1e-5);
}

TEST_F(KeepAttentionTest, RestoresFirstTheOnlyLayerThatIsWrong) {
  student_ = Restore(student_, {0, 1, 3});
  const LayerCosts costs = Costs(student_, 1);
  EXPECT_EQ(costs.restored[0].layer, 2);
  EXPECT_NEAR(costs.restored[0].kl, 0.0, 1e-9);
}

TEST_F(KeepAttentionTest, SaysHowManyComparisonsThereWillBe) {
  std::vector<int64_t> compared;
  const auto on_comparison = [&](int64_t done, int64_t all) {
    compared.push_back(done);
    EXPECT_EQ(all, 4 + 1 + 1 + 4 + 3 + 2);
  };
  ASSERT_TRUE(MeasureLayerCosts(teacher_, student_, batches_, 1, 3, {{0, 2}}, on_comparison, kGoOn).ok());
  EXPECT_EQ(compared.size(), 15u);
  EXPECT_EQ(compared.back(), 15);
}

TEST_F(KeepAttentionTest, ConvertsEveryLayerInStages1And2) {
  job_.mutable_student()->mutable_keep_attention()->add_layers(1);  // is not read
  int64_t steps = 0;
  const auto on_step = [&](const StagePlan& plan, int64_t, double) {
    EXPECT_NE(plan.stage, Stage::kEndToEnd);
    ++steps;
  };
  const auto [student, distances] = ConvertEveryLayer(job_, teacher_, batches_, on_step, kGoOn).value();
  EXPECT_EQ(steps, 20);
  for (int64_t l = 0; l < 4; ++l) EXPECT_TRUE(student.converted(l)) << l;
  EXPECT_EQ(distances.size(), 4u);
  EXPECT_LT(Costs(student, 1).all, Costs(student_, 1).all);
}

TEST_F(KeepAttentionTest, ChoosesThreeWaysOfWhichRestoringIsTheNearest) {
  const ProbeEvents events = {[](const StagePlan&, int64_t, double) {}, [](int64_t, int64_t) {}};
  const v1::JobSpec job = ProbeJob(job_, 3).value();
  const Probed probed = ProbeLayers(job, teacher_, batches_, 2, kSequences, events, kGoOn).value();
  EXPECT_EQ(probed.evenly.layers, (std::vector<int64_t>{0, 2}));
  const LanguageModel student = ConvertEveryLayer(job, teacher_, batches_, events.on_step, kGoOn)->student;
  EXPECT_NEAR(probed.evenly.kl, PlainKl(teacher_, Restore(student, {0, 2}), batches_), 1e-5);
  EXPECT_NEAR(probed.farthest.kl, PlainKl(teacher_, Restore(student, probed.farthest.layers), batches_),
              1e-5);
  EXPECT_NEAR(probed.best.kl, PlainKl(teacher_, Restore(student, probed.best.layers), batches_), 1e-5);
  ASSERT_EQ(probed.farthest.layers.size(), 2u);
  const double least =
      std::min(probed.distances[probed.farthest.layers[0]], probed.distances[probed.farthest.layers[1]]);
  EXPECT_EQ(std::count_if(probed.distances.begin(), probed.distances.end(),
                          [&](double distance) { return distance >= least; }),
            2);
}

TEST_F(KeepAttentionTest, RefusesALayerWhoseKlIsNoNumber) {
  std::get<Mamba2Weights>(student_.blocks[2].mixer).out_proj.fill_(std::nanf(""));
  const absl::Status status = MeasureLayerCosts(
                                  teacher_, student_, batches_, 1, 1, {}, [](int64_t, int64_t) {}, kGoOn)
                                  .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr("the KL of the model with layer 2 alone converted is nan"));
}

TEST_F(KeepAttentionTest, SaysThatATeacherDoesNotFit) {
  v1::ModelShape shape;
  shape.set_layers(4);
  shape.set_hidden_size(1024);
  shape.set_intermediate_size(4096);
  shape.set_query_heads(16);
  shape.set_kv_heads(16);
  shape.set_head_dim(64);
  shape.set_vocab_size(1000);
  const uint64_t need = ProbeMemory(job_, shape).peak();
  EXPECT_EQ(CheckProbeFits(job_, shape, need), absl::OkStatus());
  const absl::Status status = CheckProbeFits(job_, shape, need - 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              testing::StartsWith("does not fit: a probe trains all 4 layers"));
}

TEST_F(KeepAttentionTest, NeedsAStageThatConverts) {
  job_.mutable_stages()->clear_matrix_orientation();
  EXPECT_EQ(ProbeJob(job_, 3)->stages().hidden_state_alignment().budget().tokens(),
            3 * job_.stages().hidden_state_alignment().budget().tokens_per_step());
  job_.mutable_stages()->clear_hidden_state_alignment();
  EXPECT_EQ(ProbeJob(job_, 3).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(KeepAttentionTest, StopsWhenAsked) {
  const std::atomic<bool> stop = true;
  EXPECT_EQ(MeasureLayerCosts(
                teacher_, student_, batches_, 1, 1, {}, [](int64_t, int64_t) {}, stop)
                .status()
                .code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(ConvertEveryLayer(
                job_, teacher_, batches_, [](const auto&...) {}, stop)
                .status()
                .code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace retort
