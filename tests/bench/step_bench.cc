// One optimiser step of each stage on SmolLM2-135M's shape with all layers converted, beside the same step on
// plain LibTorch (plain_step.h) and beside its own matrix products (step_gemms.h). Peak memory is that of a
// process that builds the models and takes two steps.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "core/base/check.h"
#include "model/student/make_student.h"
#include "tests/bench/bench.h"
#include "tests/bench/memory.h"
#include "tests/bench/op_flops.h"
#include "tests/bench/peak.h"
#include "tests/bench/plain_step.h"
#include "tests/bench/step_gemms.h"
#include "tests/bench/step_models.h"
#include "train/stages/end_to_end.h"
#include "train/stages/slice.h"

namespace retort {
namespace {

const std::atomic<bool> kGoOn = false;
constexpr double kMebibyte = 1 << 20;

struct StepCase {
  std::string name;
  StagePlan plan;
  bool layer_by_layer;  // of the plain form
  int rounds;
  BenchGoal speed_up, memory_share;  // over the plain form
  BenchGoal over_gemms;
  bool limits_memory;  // as stages 2 and 3 shall
};

// A teacher with a fresh student and tokens.
struct Scene {
  explicit Scene(const StepCase& step_case)
      : teacher(RandomTeacher(SmolLmConfig())),
        tokens(step_case.plan.seq_len, teacher.config.vocab_size),
        student(NewStudent()) {}

  LanguageModel NewStudent() const {
    return MakeStudent(teacher, ConvertedConfig(teacher.config, /*groups=*/1, /*state_size=*/128),
                       v1::STUDENT_INIT_QKVO, /*seed=*/7);
  }

  LanguageModel teacher;
  RandomTokens tokens;
  LanguageModel student;
};

class OurStep {
 public:
  OurStep(const StagePlan& plan, const LanguageModel& teacher, LanguageModel& student,
          const Batches& batches) {
    if (plan.stage == Stage::kEndToEnd) {
      end_to_end_ = std::make_unique<EndToEnd>(plan, teacher, student, batches);
      return;
    }
    for (int64_t l = 0; l < student.config.num_layers(); ++l) layers_.push_back(l);
    slice_ = std::make_unique<Slice>(plan, teacher, student, batches, layers_, at::get_num_threads());
  }

  void Run() {
    const absl::Status status =
        slice_ ? slice_->Step(step_, layers_, kGoOn).status() : end_to_end_->Step(step_, kGoOn).status();
    RETORT_CHECK(status.ok()) << status.ToString();
    ++step_;
  }

  // Of all that trains: a gradient and two moments beside each value.
  double trained_bytes() const {
    double bytes = 0;
    const auto add = [&](const AdamW& optimizer) {
      for (const Trainable& trainable : optimizer.trainables()) bytes += trainable.value.nbytes();
    };
    if (end_to_end_) add(end_to_end_->optimizer());
    for (const int64_t layer : layers_) add(slice_->trainer(layer).optimizer());
    return bytes;
  }

 private:
  std::vector<int64_t> layers_;  // of the slice
  std::unique_ptr<Slice> slice_;
  std::unique_ptr<EndToEnd> end_to_end_;
  int64_t step_ = 0;
};

at::Tensor FirstBatch(const StepCase& step_case, const Scene& scene) {
  return ReadMicroBatch(step_case.plan, scene.tokens.batches(), 0).value();
}

double ParameterBytes(const LanguageModel& teacher, const LanguageModel& student) {
  double bytes = 0;
  for (const auto& tensor : ModelTensors(teacher)) bytes += tensor.value->nbytes();
  const auto shared = TensorMemory(teacher);
  for (const auto& tensor : ModelTensors(student)) {
    if (shared.count(tensor.value->data_ptr()) == 0) bytes += tensor.value->nbytes();
  }
  return bytes;
}

// Of a stage-1 step besides its GEMMs: the teacher's attention (of the last layer its log-sum-exp alone) and
// the loss.
double Stage1PairFlops(const StepCase& step_case, const ModelConfig& config) {
  const int64_t tokens = step_case.plan.seq_len;
  double flops = 0;
  for (int64_t l = 0; l < config.num_layers(); ++l) {
    flops += AttentionFlops(tokens, config.heads, config.head_dim, l + 1 < config.num_layers()) +
             MixingLossFlops(tokens, config.heads, config.mamba2.groups, config.head_dim,
                             config.mamba2.state_size);
  }
  return flops;
}

// Of a step of stage 2 or 3: the teacher's attention and the student's scan.
double AttentionAndScanFlops(const StepCase& step_case, const ModelConfig& config) {
  const int64_t tokens = step_case.plan.seq_len;
  return static_cast<double>(config.num_layers()) *
         (AttentionFlops(tokens, config.heads, config.head_dim, /*with_output=*/true) +
          ScanFlops(tokens, config.mamba2.heads, config.mamba2.head_dim, config.mamba2.state_size));
}

// What a step takes at least besides its GEMMs, in seconds, and what that makes of its goal.
void ReportBound(const StepCase& step_case, const ModelConfig& config, double trained_bytes, double gemms,
                 double plain) {
  const std::string& name = step_case.name;
  if (step_case.plan.stage == Stage::kMatrixOrientation) {
    const double pairs = Stage1PairFlops(step_case, config) / MeasuredPeakFlops();
    Report(name + ", attention's and loss's products at the measured peak", pairs * 1e3, "ms");
    Report(name + ", plain / ours if these and its GEMMs were all", plain / (gemms + pairs), "x");
    return;
  }
  const double products = AttentionAndScanFlops(step_case, config) / MeasuredPeakFlops();
  // AdamW reads four floats a parameter and writes three.
  const double update = 7 * trained_bytes / MeasuredUpdateBandwidth(static_cast<int64_t>(trained_bytes));
  Report(name + ", attention's and scan's products at the measured peak", products * 1e3, "ms");
  Report(name + ", AdamW at the measured bandwidth", update * 1e3, "ms");
  Report(name + ", ours / its GEMMs if these were all", (gemms + products + update) / gemms, "x");
}

std::string ChildName(const StepCase& step_case, bool plain) {
  return step_case.name + (plain ? ", plain" : ", ours");
}

// The peak of memory in two steps; then a step's seconds, those of its GEMMs, and their operations.
std::vector<double> RunOurs(const StepCase& step_case) {
  Scene scene(step_case);
  OurStep ours(step_case.plan, scene.teacher, scene.student, scene.tokens.batches());
  for (int i = 0; i < 2; ++i) ours.Run();
  const double peak = PeakResidentBytes();
  StepGemms gemms(step_case.plan, scene.teacher, scene.student);
  const std::vector<double> seconds =
      TimeInterleaved(2 * step_case.rounds, {[&] { ours.Run(); }, [&] { gemms.Run(); }});
  return {peak, seconds[0], seconds[1], gemms.flops()};
}

std::vector<double> PeakOfPlain(const StepCase& step_case) {
  Scene scene(step_case);
  PlainStep step(step_case.plan, scene.teacher, scene.student, step_case.layer_by_layer);
  for (int i = 0; i < 2; ++i) step.Run(FirstBatch(step_case, scene));
  return {PeakResidentBytes()};
}

void BenchCase(const StepCase& step_case) {
  // In a process of its own, as workers run it.
  const std::vector<double> alone = RunInChild(ChildName(step_case, false), "");
  const double our_peak = alone[0], our_seconds = alone[1], gemms = alone[2], gemm_flops = alone[3];
  const double plain_peak = RunInChild(ChildName(step_case, true), "")[0];
  Scene scene(step_case);
  LanguageModel plain_student = scene.NewStudent();
  const at::Tensor ids_BT = FirstBatch(step_case, scene);
  OurStep ours(step_case.plan, scene.teacher, scene.student, scene.tokens.batches());
  PlainStep plain(step_case.plan, scene.teacher, plain_student, step_case.layer_by_layer);
  const std::vector<double> in_turn =
      TimeInterleaved(step_case.rounds, {[&] { ours.Run(); }, [&] { plain.Run(ids_BT); }});

  const std::string& name = step_case.name;
  Report(name + ", ours", our_seconds * 1e3, "ms");
  Report(name + ", its GEMMs", gemms * 1e3, "ms");
  Report(name + ", rate of its GEMMs", gemm_flops / gemms * 1e-9, "GFLOP/s");
  Report(name + ", ours / its GEMMs", our_seconds / gemms, "x", step_case.over_gemms);
  Report(name + ", ours in turn with plain", in_turn[0] * 1e3, "ms");
  Report(name + ", plain", in_turn[1] * 1e3, "ms");
  Report(name + ", plain / ours", in_turn[1] / in_turn[0], "x", step_case.speed_up);
  Report(name + ", plain / ours if its GEMMs were all", in_turn[1] / gemms, "x");
  ReportBound(step_case, scene.student.config, ours.trained_bytes(), gemms, in_turn[1]);
  const double limit = ParameterBytes(scene.teacher, scene.student) + 3 * ours.trained_bytes();
  Report(name + ", peak memory", our_peak / kMebibyte, "MiB",
         step_case.limits_memory ? AtMost(limit / kMebibyte + 1024) : BenchGoal());
  Report(name + ", peak memory of plain", plain_peak / kMebibyte, "MiB");
  Report(name + ", peak memory / plain's", our_peak / plain_peak, "x", step_case.memory_share);
}

StagePlan PlanOf(Stage stage, int64_t tokens) {
  return {.stage = stage,
          .steps = 1000,
          .micro_batches = 1,
          .micro_batch = 1,
          .seq_len = tokens,
          .lr = 1e-4,
          .target = v1::ALIGNMENT_TARGET_BLOCK,
          .scope = v1::TRAIN_SCOPE_MIXER,
          .labels = v1::LABELS_TEACHER};
}

StepCase WithGemms(const std::string& name, const StagePlan& plan) {
  return {name, plan, /*layer_by_layer=*/false, /*rounds=*/3, {}, {}, AtMost(1.25), /*limits_memory=*/true};
}

const StepCase& Stage1() {
  static const StepCase& step_case = *new StepCase{"stage 1 step T=512",
                                                   PlanOf(Stage::kMatrixOrientation, 512),
                                                   /*layer_by_layer=*/false,
                                                   /*rounds=*/3,
                                                   AtLeast(5),
                                                   AtMost(0.5),
                                                   {},
                                                   /*limits_memory=*/false};
  return step_case;
}

const StepCase& Stage1Long() {
  static const StepCase& step_case = *new StepCase{"stage 1 step T=2048",
                                                   PlanOf(Stage::kMatrixOrientation, 2048),
                                                   /*layer_by_layer=*/true,
                                                   /*rounds=*/1,
                                                   AtLeast(10),
                                                   {},
                                                   {},
                                                   /*limits_memory=*/false};
  return step_case;
}

const StepCase& Stage2() {
  static const StepCase& step_case = *new StepCase(
      WithGemms("stage 2 step (target: block) T=512", PlanOf(Stage::kHiddenStateAlignment, 512)));
  return step_case;
}

const StepCase& Stage2Mixer() {
  static const StepCase& step_case = *new StepCase([] {
    StagePlan plan = PlanOf(Stage::kHiddenStateAlignment, 512);
    plan.target = v1::ALIGNMENT_TARGET_MIXER;
    return WithGemms("stage 2 step (target: mixer) T=512", plan);
  }());
  return step_case;
}

const StepCase& Stage3() {
  static const StepCase& step_case =
      *new StepCase(WithGemms("stage 3 step (train: mixer) T=512", PlanOf(Stage::kEndToEnd, 512)));
  return step_case;
}

const StepCase& Stage3All() {
  static const StepCase& step_case = *new StepCase([] {
    StagePlan plan = PlanOf(Stage::kEndToEnd, 512);
    plan.scope = v1::TRAIN_SCOPE_ALL;
    return WithGemms("stage 3 step (train: all) T=512", plan);
  }());
  return step_case;
}

template <const StepCase& (*kCase)()>
bool RegisterCase(const std::string& name) {
  RegisterChild(ChildName(kCase(), false), [] { return RunOurs(kCase()); });
  RegisterChild(ChildName(kCase(), true), [] { return PeakOfPlain(kCase()); });
  return RegisterBench(name, [] { BenchCase(kCase()); });
}

const bool registered[] = {RegisterCase<&Stage1>("stage1"), RegisterCase<&Stage1Long>("stage1_long"),
                           RegisterCase<&Stage2>("stage2"), RegisterCase<&Stage2Mixer>("stage2_mixer"),
                           RegisterCase<&Stage3>("stage3"), RegisterCase<&Stage3All>("stage3_all")};

}  // namespace
}  // namespace retort
