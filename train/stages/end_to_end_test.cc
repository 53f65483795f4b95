#include "train/stages/end_to_end.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "train/stages/slice.h"
#include "train/stages/testing_tiny.h"

namespace retort {
namespace {

using testing::HasSubstr;

StagePlan Stage3(v1::TrainScope scope, v1::Labels labels) {
  StagePlan plan = TinyPlan(Stage::kEndToEnd);
  plan.scope = scope;
  plan.labels = labels;
  return plan;
}

// A copy that shares no memory with the model.
LanguageModel DeepCopy(const LanguageModel& model) {
  LanguageModel copy = model;
  for (const auto& tensor : ModelTensors(copy)) *tensor.value = tensor.value->detach().clone();
  if (copy.config.tied_head) copy.head_VE = copy.embedding_VE;
  return copy;
}

// The most bytes of tensors that this thread has made and not yet freed.
class PeakBytes final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t allocated, size_t, size_t, c10::Device) override {
    now_ += allocated;
    peak_ = std::max(peak_, now_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t peak() const { return peak_; }

 private:
  int64_t now_ = 0, peak_ = 0;
};

class EndToEndTest : public testing::Test {
 protected:
  at::Tensor Ids(const StagePlan& plan, int64_t pass) {
    return ReadMicroBatch(plan, batches_, plan.first_sequence(0, pass)).value();
  }

  // The first step's loss of `student`, from all logits at once.
  at::Tensor PlainLoss(const StagePlan& plan, const LanguageModel& student) {
    at::Tensor sum = at::zeros({});
    for (int64_t pass = 0; pass < plan.micro_batches; ++pass) {
      const at::Tensor ids = Ids(plan, pass);
      const at::Tensor log_p = at::log_softmax(Logits(student, ids), -1);
      if (plan.labels == v1::LABELS_TEACHER) {
        sum = sum - (at::softmax(Logits(teacher_, ids), -1).detach() * log_p).sum(-1).mean();
      } else {
        const int64_t last = plan.seq_len - 1;
        sum = sum - log_p.narrow(1, 0, last).gather(2, ids.narrow(1, 1, last).unsqueeze(2)).mean();
      }
    }
    return sum / static_cast<double>(plan.micro_batches);
  }

  double FirstLoss(const StagePlan& plan, LanguageModel& student) {
    EndToEnd stage(plan, teacher_, student, batches_);
    return stage.Step(0, kGoOn).value();
  }

  // After one step the first moments are a tenth of the clipped gradients. Expects them to be those of plain
  // autograd through the whole student.
  void ExpectPlainGradients(const StagePlan& plan) {
    LanguageModel plain = DeepCopy(student_);
    EndToEnd stage(plan, teacher_, student_, batches_);
    for (const Trainable& trainable : EndToEndTrainables(plan.scope, plain))
      trainable.value.requires_grad_(true);
    PlainLoss(plan, plain).backward();
    ASSERT_TRUE(stage.Step(0, kGoOn).ok());
    const std::vector<Trainable> expected = EndToEndTrainables(plan.scope, plain);
    double norm = 0;
    for (const Trainable& trainable : expected)
      norm += std::pow(trainable.value.grad().norm().item<double>(), 2);
    const double clip = std::min(1.0, 1.0 / std::sqrt(norm));
    const auto moments = stage.optimizer().moments();
    ASSERT_EQ(moments.size(), expected.size());
    for (size_t i = 0; i < moments.size(); ++i) {
      const at::Tensor gradient = expected[i].value.grad() * clip, seen = moments[i].first / 0.1;
      EXPECT_LE((seen - gradient).norm().item<double>(), 1e-4 * gradient.norm().item<double>())
          << expected[i].name;
    }
  }

  // Expects an error with `message`, and a student as it was.
  void ExpectRefused(EndToEnd& stage, int64_t step, const std::string& message) {
    const TensorMap before = Snapshot(student_);
    const absl::Status status = stage.Step(step, kGoOn).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
    ExpectSameBits(TensorsOf(student_), before);
    for (const auto& [name, tensor] : TensorsOf(student_)) EXPECT_FALSE(tensor.grad().defined()) << name;
  }

  const v1::JobSpec job_ = TinyJob();
  LanguageModel teacher_ = TinyTeacher();
  LanguageModel student_ = TinyStudent(teacher_, job_);
  const Batches batches_ = TinyBatches(job_);
};

TEST_F(EndToEndTest, OfMixersLeavesAllElseTheTeachersOwnMemory) {
  const TensorMap before = Snapshot(student_), teacher_before = Snapshot(teacher_);
  EndToEnd stage(Stage3(v1::TRAIN_SCOPE_MIXER, v1::LABELS_TEACHER), teacher_, student_, batches_);
  for (int64_t step = 0; step < 2; ++step) ASSERT_TRUE(stage.Step(step, kGoOn).ok());
  const TensorMap teacher = TensorsOf(teacher_);
  for (const auto& [name, tensor] : TensorsOf(student_)) {
    EXPECT_EQ(SameBits(tensor.detach(), before.at(name)), !IsMixerName(name)) << name;
    if (IsMixerName(name)) continue;
    EXPECT_EQ(tensor.data_ptr(), teacher.at(name).data_ptr()) << name;
  }
  ExpectSameBits(teacher, teacher_before);
}

// `stop` is set by the first micro-batch's backward pass; there are two.
TEST_F(EndToEndTest, DropsTheGradientsOfAStepThatIsStopped) {
  std::atomic<bool> stop = false;
  EndToEnd stage(Stage3(v1::TRAIN_SCOPE_MIXER, v1::LABELS_TEACHER), teacher_, student_, batches_);
  ASSERT_GT(TinyPlan(Stage::kEndToEnd).micro_batches, 1);
  stage.optimizer().trainables()[0].value.register_hook([&](const at::Tensor& gradient) {
    stop = true;
    return gradient;
  });
  const TensorMap before = Snapshot(student_);
  EXPECT_EQ(stage.Step(0, stop).status().code(), absl::StatusCode::kCancelled);
  ExpectSameBits(TensorsOf(student_), before);
  for (const auto& [name, tensor] : TensorsOf(student_)) EXPECT_FALSE(tensor.grad().defined()) << name;
}

TEST_F(EndToEndTest, OfAllMovesEveryTensorAndLeavesTheTeacher) {
  const TensorMap before = Snapshot(student_), teacher_before = Snapshot(teacher_);
  EndToEnd stage(Stage3(v1::TRAIN_SCOPE_ALL, v1::LABELS_TEACHER), teacher_, student_, batches_);
  for (int64_t step = 0; step < 2; ++step) ASSERT_TRUE(stage.Step(step, kGoOn).ok());
  for (const auto& [name, tensor] : TensorsOf(student_)) {
    EXPECT_FALSE(SameBits(tensor.detach(), before.at(name))) << name;
  }
  EXPECT_TRUE(student_.head_VE.is_same(student_.embedding_VE));
  ExpectSameBits(TensorsOf(teacher_), teacher_before);
}

TEST_F(EndToEndTest, FollowsPlainAutogradInEveryTensorAndInBothUsesOfATiedHead) {
  ASSERT_TRUE(teacher_.config.tied_head);
  ExpectPlainGradients(Stage3(v1::TRAIN_SCOPE_ALL, v1::LABELS_TEACHER));
}

TEST_F(EndToEndTest, FollowsPlainAutogradFromTheText) {
  ExpectPlainGradients(Stage3(v1::TRAIN_SCOPE_ALL, v1::LABELS_TEXT));
}

TEST_F(EndToEndTest, FollowsPlainAutogradInTheMixersAlone) {
  ExpectPlainGradients(Stage3(v1::TRAIN_SCOPE_MIXER, v1::LABELS_TEACHER));
}

TEST_F(EndToEndTest, TrainsAnUntiedHead) {
  teacher_.config.tied_head = false;
  teacher_.head_VE = teacher_.embedding_VE.clone();
  student_ = TinyStudent(teacher_, job_);
  ExpectPlainGradients(Stage3(v1::TRAIN_SCOPE_ALL, v1::LABELS_TEACHER));
}

TEST_F(EndToEndTest, LossIsTheCrossEntropyWithTheTeacher) {
  const StagePlan plan = Stage3(v1::TRAIN_SCOPE_MIXER, v1::LABELS_TEACHER);
  const double expected = PlainLoss(plan, student_).item<double>();
  EXPECT_NEAR(FirstLoss(plan, student_), expected, 1e-5 * expected);
}

TEST_F(EndToEndTest, LossFromTheTextIsThatOfTheNextToken) {
  const StagePlan plan = Stage3(v1::TRAIN_SCOPE_MIXER, v1::LABELS_TEXT);
  const double expected = PlainLoss(plan, student_).item<double>();
  EXPECT_NEAR(FirstLoss(plan, student_), expected, 1e-5 * expected);
}

TEST_F(EndToEndTest, StartsAboveTheLayersThatAreStillTheTeachersWithTheSameLoss) {
  v1::JobSpec job = job_;
  job.mutable_student()->mutable_keep_attention()->add_layers(0);  // layers 0 and 1 are the teacher's
  for (v1::Labels labels : {v1::LABELS_TEACHER, v1::LABELS_TEXT}) {
    LanguageModel student = TinyStudent(teacher_, job);
    const StagePlan plan = Stage3(v1::TRAIN_SCOPE_MIXER, labels);
    const double expected = PlainLoss(plan, student).item<double>();
    EXPECT_NEAR(FirstLoss(plan, student), expected, 1e-5 * expected);
  }
}

TEST_F(EndToEndTest, CheckpointsActivationsToTheSameBitsInLessMemory) {
  v1::JobSpec job = job_;
  job.mutable_student()->mutable_keep_attention()->add_layers(0);  // the lowest student block's input is the
                                                                   // teacher's
  for (v1::TrainScope scope : {v1::TRAIN_SCOPE_MIXER, v1::TRAIN_SCOPE_ALL}) {
    StagePlan plan = Stage3(scope, v1::LABELS_TEACHER);
    TensorMap trained[2];
    int64_t peak_bytes[2];
    for (bool checkpointing : {false, true}) {
      plan.activation_checkpointing = checkpointing;
      LanguageModel student = TinyStudent(teacher_, job);
      EndToEnd stage(plan, teacher_, student, batches_);
      ASSERT_TRUE(stage.Step(0, kGoOn).ok());
      const auto memory = std::make_shared<PeakBytes>();
      const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, memory);
      ASSERT_TRUE(stage.Step(1, kGoOn).ok());
      peak_bytes[checkpointing] = memory->peak();
      trained[checkpointing] = Snapshot(student);
    }
    ExpectSameBits(trained[true], trained[false]);
    EXPECT_LT(peak_bytes[true], peak_bytes[false] * 3 / 4) << peak_bytes[false];
  }
}

TEST_F(EndToEndTest, LowersItsLoss) {
  const StagePlan plan = Stage3(v1::TRAIN_SCOPE_MIXER, v1::LABELS_TEACHER);
  EndToEnd stage(plan, teacher_, student_, batches_);
  const double first = stage.Step(0, kGoOn).value();
  double last = first;
  for (int64_t step = 1; step < plan.steps; ++step) last = stage.Step(step, kGoOn).value();
  EXPECT_LT(last, 0.95 * first);
}

TEST_F(EndToEndTest, AppliesNoStepWhenATensorCannotLearn) {
  std::get<Mamba2Weights>(student_.blocks[3].mixer).out_proj.zero_();  // nothing below it is reached
  EndToEnd stage(Stage3(v1::TRAIN_SCOPE_MIXER, v1::LABELS_TEACHER), teacher_, student_, batches_);
  ExpectRefused(stage, 0, "model.layers.3.mamba.");
}

TEST_F(EndToEndTest, AppliesNoStepWhoseGradientOverflows) {
  auto& mixer = std::get<Mamba2Weights>(student_.blocks[3].mixer);
  mixer.x_proj.mul_(1e-30);  // the product with D is sound and so is the loss, but not x_proj's gradient
  mixer.d.fill_(1e30);
  EndToEnd stage(Stage3(v1::TRAIN_SCOPE_MIXER, v1::LABELS_TEACHER), teacher_, student_, batches_);
  ExpectRefused(stage, 4, "end_to_end, step 5, student: the gradient's norm is inf");
}

}  // namespace
}  // namespace retort
