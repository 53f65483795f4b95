#include "train/stages/slice.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/base/clock.h"
#include "model/io/model_family.h"
#include "model/ops/compute_path.h"
#include "train/stages/losses.h"
#include "train/stages/testing_tiny.h"

namespace retort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::vector<int64_t> kConverted = {0, 2, 3};
const int64_t kSideBySide = KernelsOn() ? 2 : 1;

StagePlan Stage2(v1::AlignmentTarget target, v1::TrainScope scope) {
  StagePlan plan = TinyPlan(Stage::kHiddenStateAlignment);
  plan.target = target;
  plan.scope = scope;
  return plan;
}

// A student beside its teacher; each test has its own.
class SliceTest : public testing::Test {
 protected:
  at::Tensor Ids(const StagePlan& plan, int64_t first_sequence) {
    return ReadMicroBatch(plan, batches_, first_sequence).value();
  }

  // What each of the teacher's blocks shows on `ids_BT`.
  std::vector<BlockTaps> Taps(const at::Tensor& ids_BT) {
    const c10::NoGradGuard no_grad;
    std::vector<BlockTaps> taps(teacher_.blocks.size());
    at::Tensor hidden = Embed(teacher_, ids_BT);
    for (size_t l = 0; l < taps.size(); ++l) {
      hidden = RunBlock(teacher_, l, hidden, RotaryFor(teacher_, ids_BT.size(1)), &taps[l]);
    }
    return taps;
  }

  // Expects a gradient in exactly the tensors of `layer` whose names below its prefix are `expected`.
  void ExpectGradientsExactlyIn(int64_t layer, const std::set<std::string>& expected) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    for (const auto& [name, tensor] : TensorsOf(student_)) {
      const bool trains = name.rfind(prefix, 0) == 0 && expected.count(name.substr(prefix.size())) > 0;
      ASSERT_EQ(tensor.grad().defined(), trains) << name;
      if (!trains) continue;
      EXPECT_GT(tensor.grad().abs().max().item<double>(), 0.0) << name;
    }
    for (const auto& [name, tensor] : TensorsOf(teacher_)) EXPECT_FALSE(tensor.grad().defined()) << name;
  }

  void ExpectTrains(const StagePlan& plan, const std::set<std::string>& expected) {
    for (int64_t layer : kConverted) {
      LayerTrainer trainer(plan, student_, layer);
      const BlockTaps taps = Taps(Ids(plan, 0))[layer];
      ASSERT_TRUE(trainer.Accumulate(0, taps, RotaryFor(teacher_, plan.seq_len)).ok());
      ExpectGradientsExactlyIn(layer, expected);
    }
  }

  // Steps first to end - 1.
  void Train(Slice& slice, const std::vector<int64_t>& layers, int64_t first, int64_t end) {
    for (int64_t step = first; step < end; ++step) {
      const absl::Status status = slice.Step(step, layers, kGoOn).status();
      ASSERT_TRUE(status.ok()) << status;
    }
  }

  const v1::JobSpec job_ = TinyJob();
  LanguageModel teacher_ = TinyTeacher();
  LanguageModel student_ = TinyStudent(teacher_, job_);
  const Batches batches_ = TinyBatches(job_);
};

const std::set<std::string> kMatrixTensors = {"mamba.b_proj.weight",  "mamba.c_proj.weight",
                                              "mamba.dt_proj.weight", "mamba.conv_b.weight",
                                              "mamba.conv_b.bias",    "mamba.conv_c.weight",
                                              "mamba.conv_c.bias",    "mamba.dt_bias",
                                              "mamba.A_log",          "mamba.D"};
const std::set<std::string> kMixerOnlyTensors = {"mamba.z_proj.weight", "mamba.x_proj.weight",
                                                 "mamba.conv_x.weight", "mamba.conv_x.bias",
                                                 "mamba.norm.weight",   "mamba.out_proj.weight"};
const std::set<std::string> kBlockOnlyTensors = {"input_layernorm.weight", "post_attention_layernorm.weight",
                                                 "mlp.gate_proj.weight", "mlp.up_proj.weight",
                                                 "mlp.down_proj.weight"};

std::set<std::string> Union(std::set<std::string> a, const std::set<std::string>& b) {
  a.insert(b.begin(), b.end());
  return a;
}

TEST_F(SliceTest, StageOneReachesOnlyWhatEntersTheMatrix) {
  ExpectTrains(TinyPlan(Stage::kMatrixOrientation), kMatrixTensors);
}

TEST_F(SliceTest, StageTwoReachesTheWholeMixerAndNothingElse) {
  const std::set<std::string> mixer = Union(kMatrixTensors, kMixerOnlyTensors);
  ExpectTrains(Stage2(v1::ALIGNMENT_TARGET_BLOCK, v1::TRAIN_SCOPE_MIXER), mixer);
  ExpectTrains(Stage2(v1::ALIGNMENT_TARGET_MIXER, v1::TRAIN_SCOPE_MIXER), mixer);
}

TEST_F(SliceTest, StageTwoOfABlockReachesItsNormsAndMlpToo) {
  ExpectTrains(Stage2(v1::ALIGNMENT_TARGET_BLOCK, v1::TRAIN_SCOPE_BLOCK),
               Union(Union(kMatrixTensors, kMixerOnlyTensors), kBlockOnlyTensors));
}

TEST_F(SliceTest, WeightDecayIsForMatricesOnly) {
  const StagePlan plan = Stage2(v1::ALIGNMENT_TARGET_BLOCK, v1::TRAIN_SCOPE_BLOCK);
  for (const Trainable& trainable : LayerTrainables(plan, student_, 2)) {
    EXPECT_EQ(trainable.decays, trainable.name.find("_proj.weight") != std::string::npos) << trainable.name;
  }
}

TEST_F(SliceTest, TrainersLeaveNoGradientBehind) {
  {
    LayerTrainer trainer(TinyPlan(Stage::kMatrixOrientation), student_, 2);
    const StagePlan plan = TinyPlan(Stage::kMatrixOrientation);
    ASSERT_TRUE(trainer.Accumulate(0, Taps(Ids(plan, 0))[2], RotaryFor(teacher_, plan.seq_len)).ok());
  }
  for (const auto& [name, tensor] : TensorsOf(student_)) {
    EXPECT_FALSE(tensor.grad().defined() || tensor.requires_grad()) << name;
  }
}

TEST_F(SliceTest, NeverWritesToTheTeacher) {
  const TensorMap before = Snapshot(teacher_);
  for (const StagePlan& plan :
       {TinyPlan(Stage::kMatrixOrientation), Stage2(v1::ALIGNMENT_TARGET_BLOCK, v1::TRAIN_SCOPE_BLOCK)}) {
    Slice slice(plan, teacher_, student_, batches_, kConverted, kSideBySide);
    Train(slice, kConverted, 0, 2);
  }
  ExpectSameBits(TensorsOf(teacher_), before);
}

TEST_F(SliceTest, TrainsLayersApartToTheSameBitsAsTogether) {
  for (const StagePlan& plan :
       {TinyPlan(Stage::kMatrixOrientation), Stage2(v1::ALIGNMENT_TARGET_MIXER, v1::TRAIN_SCOPE_MIXER),
        Stage2(v1::ALIGNMENT_TARGET_BLOCK, v1::TRAIN_SCOPE_BLOCK)}) {
    LanguageModel together = TinyStudent(teacher_, job_), apart = TinyStudent(teacher_, job_);
    const TensorMap before = Snapshot(together);
    Slice all(plan, teacher_, together, batches_, kConverted, kSideBySide);
    Train(all, kConverted, 0, 3);
    for (int64_t layer : {3, 0, 2}) {
      Slice one(plan, teacher_, apart, batches_, {layer}, kSideBySide);
      Train(one, {layer}, 0, 3);
    }
    ExpectSameBits(TensorsOf(together), TensorsOf(apart));
    for (int64_t layer : kConverted) {
      for (const Trainable& trainable : all.trainer(layer).optimizer().trainables()) {
        EXPECT_FALSE(SameBits(trainable.value.detach(), before.at(trainable.name))) << trainable.name;
      }
    }
  }
}

// One after the other on one thread and, with four, on all of them; side by side on two and three, the third
// of which leaves a cut's last part with an odd size. More elements than LibTorch leaves to one thread.
TEST_F(SliceTest, TrainsToTheSameBitsOnAnyNumberOfThreads) {
  if (!KernelsOn()) GTEST_SKIP() << "LibTorch's formulas round by threads";
  const int threads_before = at::get_num_threads();
  for (StagePlan plan :
       {TinyPlan(Stage::kMatrixOrientation), Stage2(v1::ALIGNMENT_TARGET_BLOCK, v1::TRAIN_SCOPE_MIXER),
        Stage2(v1::ALIGNMENT_TARGET_BLOCK, v1::TRAIN_SCOPE_BLOCK)}) {
    plan.micro_batch = 19;  // of 32 tokens of 64 numbers
    std::vector<LanguageModel> students;
    for (const int threads : {1, 2, 3, 4}) {
      at::set_num_threads(threads);
      LanguageModel& student = students.emplace_back(TinyStudent(teacher_, job_));
      Slice slice(plan, teacher_, student, batches_, {0, 2}, /*side_by_side=*/threads);
      Train(slice, {0, 2}, 0, 2);
    }
    at::set_num_threads(threads_before);
    for (size_t i = 1; i < students.size(); ++i)
      ExpectSameBits(TensorsOf(students[i]), TensorsOf(students[0]));
  }
}

TEST(LearnsAlikeOnAnyThreads, WhereNoOperationOfLibTorchsRoundsByThreads) {
  const ModelConfig stock = TinyStudent(TinyTeacher(), TinyJob()).config;
  StagePlan plan = TinyPlan(Stage::kMatrixOrientation);
  EXPECT_EQ(LearnsAlikeOnAnyThreads(plan, stock), KernelsOn());
  plan.micro_batch = 32768 / (32 * stock.mamba2.heads);  // of 32 tokens
  EXPECT_FALSE(LearnsAlikeOnAnyThreads(plan, stock)) << "softplus of the steps is cut";
  plan.stage = Stage::kHiddenStateAlignment;
  EXPECT_EQ(LearnsAlikeOnAnyThreads(plan, stock), KernelsOn());
  ModelConfig discrete = stock;
  discrete.mamba2.form = Mamba2Form::kDiscrete;
  EXPECT_FALSE(LearnsAlikeOnAnyThreads(plan, discrete));
  ModelConfig phi = stock;
  phi.family = FindModelFamily("phi");
  plan.target = v1::ALIGNMENT_TARGET_BLOCK;
  EXPECT_FALSE(LearnsAlikeOnAnyThreads(plan, phi));
  plan.target = v1::ALIGNMENT_TARGET_MIXER;
  EXPECT_EQ(LearnsAlikeOnAnyThreads(plan, phi), KernelsOn());
}

// Costs, and with them what layers a worker gets, rest on it.
TEST_F(SliceTest, SharesTheTimeOfAStepOutAmongItsLayers) {
  Slice slice(Stage2(v1::ALIGNMENT_TARGET_BLOCK, v1::TRAIN_SCOPE_MIXER), teacher_, student_, batches_,
              kConverted, kSideBySide);
  const double begin = MonotonicSeconds();
  const SliceStep step = slice.Step(0, kConverted, kGoOn).value();
  double seconds = step.teacher_seconds * static_cast<double>(teacher_.blocks.size());
  for (const TrainedLayer& trained : step.layers) {
    EXPECT_GT(trained.seconds, 0) << trained.layer;
    seconds += trained.seconds;
  }
  EXPECT_LE(seconds, MonotonicSeconds() - begin);
}

// As a slice that is cut anew: a layer comes that is behind, another is taken away, a third is already done.
TEST_F(SliceTest, TrainsLayersAtDifferentStepsToTheSameBitsAsTogether) {
  for (const StagePlan& plan :
       {TinyPlan(Stage::kMatrixOrientation), Stage2(v1::ALIGNMENT_TARGET_BLOCK, v1::TRAIN_SCOPE_BLOCK)}) {
    LanguageModel together = TinyStudent(teacher_, job_), mixed = TinyStudent(teacher_, job_);
    Slice all(plan, teacher_, together, batches_, kConverted, kSideBySide);
    Train(all, kConverted, 0, 5);
    Slice slice(plan, teacher_, mixed, batches_, kConverted, kSideBySide);
    Train(slice, {0, 3}, 0, 2);
    Train(slice, {2}, 0, 2);
    Train(slice, {0, 2}, 2, 4);
    Train(slice, {3}, 2, 4);
    Train(slice, kConverted, 4, 5);
    ExpectSameBits(TensorsOf(together), TensorsOf(mixed));
  }
}

TEST_F(SliceTest, BeginsAtABoundaryAndGivesOneOutToTheSameBits) {
  const StagePlan plan = Stage2(v1::ALIGNMENT_TARGET_BLOCK, v1::TRAIN_SCOPE_MIXER);
  LanguageModel whole = TinyStudent(teacher_, job_);
  Slice alone(plan, teacher_, whole, batches_, {0, 2}, kSideBySide);
  Slice lower(plan, teacher_, student_, batches_, {0}, kSideBySide),
      upper(plan, teacher_, student_, batches_, {2}, kSideBySide);
  std::vector<at::Tensor> between, top;
  PassRelay below, above;
  below.output_boundary = 2;  // above layer 1, which has no part in it
  below.output = [&](int64_t, int64_t, const at::Tensor& hidden) { between.push_back(hidden.clone()); };
  above.input = [&](int64_t, int64_t pass) -> absl::StatusOr<Boundary> { return Boundary{2, between[pass]}; };
  above.output_boundary = 3;
  above.output = [&](int64_t, int64_t, const at::Tensor& hidden) { top.push_back(hidden); };

  const auto expect_blocks = [&](Slice& slice, const std::vector<int64_t>& layers, const PassRelay& relay,
                                 int64_t blocks_a_pass) {
    ASSERT_TRUE(slice.Step(0, layers, kGoOn, relay).ok());
    EXPECT_EQ(slice.teacher_blocks(), plan.micro_batches * blocks_a_pass);
  };
  expect_blocks(alone, {0, 2}, {}, 3);
  expect_blocks(lower, {0}, below, 2);
  expect_blocks(upper, {2}, above, 1);
  ExpectSameBits(TensorsOf(student_), TensorsOf(whole));
  ASSERT_EQ(top.size(), plan.micro_batches);
  for (int64_t pass = 0; pass < plan.micro_batches; ++pass) {
    EXPECT_TRUE(SameBits(top[pass], Taps(Ids(plan, plan.first_sequence(0, pass)))[2].output_BTE)) << pass;
  }
}

TEST_F(SliceTest, AnInputThatDoesNotComeEndsTheStepWithoutApplyingIt) {
  const TensorMap before = Snapshot(student_);
  const StagePlan plan = TinyPlan(Stage::kMatrixOrientation);
  Slice slice(plan, teacher_, student_, batches_, {2}, kSideBySide);
  PassRelay relay;
  relay.input = [&](int64_t step, int64_t pass) -> absl::StatusOr<Boundary> {
    if (pass == 1) return absl::CancelledError("stopped");
    return EmbedMicroBatch(plan, teacher_, batches_, step, pass);
  };
  EXPECT_EQ(slice.Step(0, {2}, kGoOn, relay).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(slice.teacher_blocks(), 3) << "of the first pass";
  ExpectSameBits(TensorsOf(student_), before);
}

TEST_F(SliceTest, TrainsOnWithoutALayerThatIsDropped) {
  const StagePlan plan = TinyPlan(Stage::kHiddenStateAlignment);
  LanguageModel together = TinyStudent(teacher_, job_);
  Slice all(plan, teacher_, together, batches_, {0, 2}, kSideBySide),
      slice(plan, teacher_, student_, batches_, kConverted, kSideBySide);
  Train(all, {0, 2}, 0, 3);
  Train(slice, kConverted, 0, 1);
  slice.Drop(3);
  Train(slice, {0, 2}, 1, 3);
  for (const auto& [name, tensor] : TensorsOf(student_)) {
    const bool dropped = name.rfind("model.layers.3.mamba.", 0) == 0;
    EXPECT_EQ(SameBits(tensor, TensorsOf(together).at(name)), !dropped) << name;
    EXPECT_FALSE(dropped && tensor.requires_grad()) << name;
  }
}

TEST_F(SliceTest, AlignsTheLastLayerWithTheUnNormedOutput) {
  StagePlan plan = Stage2(v1::ALIGNMENT_TARGET_BLOCK, v1::TRAIN_SCOPE_MIXER);
  plan.micro_batches = 1;
  const BlockTaps last = Taps(Ids(plan, 0)).back();
  const at::Tensor output = last.input_BTE + last.mixer_BTE;
  const c10::NoGradGuard no_grad;
  const at::Tensor un_normed =
      output + Mlp(at::rms_norm(output, {64}, teacher_.blocks[3].post_norm_E, teacher_.config.norm_eps),
                   teacher_.blocks[3].mlp);
  const at::Tensor of_student =
      RunBlock(student_, 3, last.input_BTE, RotaryFor(teacher_, plan.seq_len), nullptr);
  const double un_normed_loss = HiddenStateLoss(of_student, un_normed).item<double>();
  const double normed_loss = HiddenStateLoss(of_student, FinalNorm(teacher_, un_normed)).item<double>();
  ASSERT_GT(std::abs(un_normed_loss - normed_loss), 0.05 * un_normed_loss);

  const c10::AutoGradMode with_grad(true);
  Slice slice(plan, teacher_, student_, batches_, {3}, kSideBySide);
  EXPECT_NEAR(slice.Step(0, {3}, kGoOn).value().layers[0].loss, un_normed_loss, 1e-4 * un_normed_loss);
}

TEST_F(SliceTest, ComparesTheMatrixWithTheTeachersAttention) {
  StagePlan plan = TinyPlan(Stage::kMatrixOrientation);
  plan.micro_batches = 1;
  const BlockTaps taps = Taps(Ids(plan, 0))[2];
  // softmax(q k / sqrt(D)) as everybody writes it, for 4 query heads on 2 key heads of width 16.
  const at::Tensor k_BHTD = taps.attention.k_BKTD.repeat_interleave(2, 1);
  const at::Tensor above = at::ones({plan.seq_len, plan.seq_len}, at::kBool).triu(1);
  const at::Tensor scores = at::matmul(taps.attention.q_BHTD, k_BHTD.transpose(-2, -1)) / 4.0;
  const at::Tensor attention = at::softmax(scores.masked_fill(above, -1e30), -1);
  const at::Tensor student = Mamba2Matrix(taps.normed_BTE, std::get<Mamba2Weights>(student_.blocks[2].mixer),
                                          student_.config.mamba2);
  const double expected = (student - attention).square().sum({-2, -1}).sqrt().mean().item<double>();
  Slice slice(plan, teacher_, student_, batches_, {2}, kSideBySide);
  EXPECT_NEAR(slice.Step(0, {2}, kGoOn).value().layers[0].loss, expected, 1e-4 * expected);
}

TEST_F(SliceTest, TwoPassesOfOneSequenceAddUpToOneOfTwo) {
  StagePlan one_pass = Stage2(v1::ALIGNMENT_TARGET_BLOCK, v1::TRAIN_SCOPE_MIXER), two_passes = one_pass;
  one_pass.micro_batches = 1;
  two_passes.micro_batches = 2;
  two_passes.micro_batch = 1;
  const RotaryTable rotary = RotaryFor(teacher_, one_pass.seq_len);
  LanguageModel other = TinyStudent(teacher_, job_);
  LayerTrainer whole(one_pass, student_, 2), parts(two_passes, other, 2);
  const double loss = whole.Accumulate(0, Taps(Ids(one_pass, 0))[2], rotary).value();
  const double first = parts.Accumulate(0, Taps(Ids(two_passes, 0))[2], rotary).value();
  const double second = parts.Accumulate(0, Taps(Ids(two_passes, 1))[2], rotary).value();
  EXPECT_NEAR((first + second) / 2, loss, 1e-5 * loss);
  for (size_t i = 0; i < whole.optimizer().trainables().size(); ++i) {
    const at::Tensor a = whole.optimizer().trainables()[i].value.grad();
    const at::Tensor b = parts.optimizer().trainables()[i].value.grad();
    EXPECT_LE((a - b).norm().item<double>(), 1e-5 * a.norm().item<double>())
        << whole.optimizer().trainables()[i].name;
  }
}

TEST_F(SliceTest, ReportsTheMeanLossOfItsPasses) {
  const StagePlan plan = TinyPlan(Stage::kMatrixOrientation);
  ASSERT_EQ(plan.micro_batches, 2);
  std::vector<double> passes;
  for (int64_t pass = 0; pass < 2; ++pass) {
    LayerTrainer trainer(plan, student_, 2);
    const BlockTaps taps = Taps(Ids(plan, plan.first_sequence(0, pass)))[2];
    passes.push_back(trainer.Accumulate(0, taps, RotaryFor(teacher_, plan.seq_len)).value());
  }
  ASSERT_NE(passes[0], passes[1]);
  Slice slice(plan, teacher_, student_, batches_, {2}, kSideBySide);
  EXPECT_NEAR(slice.Step(0, {2}, kGoOn).value().layers[0].loss, (passes[0] + passes[1]) / 2, 1e-6);
}

TEST_F(SliceTest, LowersEveryLayersLossInBothStages) {
  for (StagePlan plan :
       {TinyPlan(Stage::kMatrixOrientation), Stage2(v1::ALIGNMENT_TARGET_BLOCK, v1::TRAIN_SCOPE_MIXER)}) {
    plan.lr = 1e-2;
    LanguageModel student = TinyStudent(teacher_, job_);
    Slice slice(plan, teacher_, student, batches_, kConverted, kSideBySide);
    const SliceStep before = slice.Step(0, kConverted, kGoOn).value();
    Train(slice, kConverted, 0, plan.steps);
    const SliceStep after = slice.Step(0, kConverted, kGoOn).value();  // the same batch
    for (size_t i = 0; i < kConverted.size(); ++i) {
      EXPECT_EQ(after.layers[i].layer, kConverted[i]);
      EXPECT_LT(after.layers[i].loss, 0.9 * before.layers[i].loss)
          << StageName(plan.stage) << ", layer " << kConverted[i];
    }
  }
}

TEST_F(SliceTest, AppliesAStepToNoLayerWhenOneCannotLearn) {
  auto& mixer = std::get<Mamba2Weights>(student_.blocks[3].mixer);
  mixer.c_proj.zero_();  // C is zero with its bias: B's gradient vanishes
  const TensorMap before = Snapshot(student_);
  Slice slice(TinyPlan(Stage::kMatrixOrientation), teacher_, student_, batches_, kConverted, kSideBySide);
  const absl::Status status = slice.Step(0, kConverted, kGoOn).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(slice.failed_layer(), 3);
  EXPECT_THAT(
      std::string(status.message()),
      AllOf(HasSubstr("layer 3"), HasSubstr("model.layers.3.mamba.b_proj.weight"), HasSubstr("zero")));
  ExpectSameBits(TensorsOf(student_), before);
  for (const auto& [name, tensor] : TensorsOf(student_)) EXPECT_FALSE(tensor.grad().defined()) << name;
}

TEST_F(SliceTest, StopsAtALossThatIsNotANumber) {
  student_.blocks[2].mlp.up_proj = at::full_like(student_.blocks[2].mlp.up_proj, std::nan(""));
  const TensorMap before = Snapshot(student_);
  Slice slice(Stage2(v1::ALIGNMENT_TARGET_BLOCK, v1::TRAIN_SCOPE_MIXER), teacher_, student_, batches_,
              kConverted, kSideBySide);
  const absl::Status status = slice.Step(5, kConverted, kGoOn).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(slice.failed_layer(), 2);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("hidden_state_alignment, step 6, layer 2: the loss is nan"));
  ExpectSameBits(TensorsOf(student_), before);
}

// `stop` is set by the first micro-batch's backward pass; there are two.
TEST_F(SliceTest, DropsTheGradientsOfAStepThatIsStopped) {
  std::atomic<bool> stop = false;
  Slice slice(TinyPlan(Stage::kHiddenStateAlignment), teacher_, student_, batches_, kConverted, kSideBySide);
  ASSERT_GT(TinyPlan(Stage::kHiddenStateAlignment).micro_batches, 1);
  slice.trainer(0).optimizer().trainables()[0].value.register_hook([&](const at::Tensor& gradient) {
    stop = true;
    return gradient;
  });
  const TensorMap before = Snapshot(student_);
  EXPECT_EQ(slice.Step(0, kConverted, stop).status().code(), absl::StatusCode::kCancelled);
  ExpectSameBits(TensorsOf(student_), before);
  for (const auto& [name, tensor] : TensorsOf(student_)) EXPECT_FALSE(tensor.grad().defined()) << name;
}

}  // namespace
}  // namespace retort
