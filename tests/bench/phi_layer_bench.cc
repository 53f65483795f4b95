// Stage 1 of one layer of Phi-1.5's shape: the teacher's attention, the student's projections and matrix, the
// loss with its gradients and the optimiser, ours beside materialised.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "core/base/check.h"
#include "model/student/make_student.h"
#include "tests/bench/bench.h"
#include "tests/bench/memory.h"
#include "tests/bench/plain_step.h"
#include "tests/bench/step_models.h"
#include "train/stages/layer_trainer.h"

namespace retort {
namespace {

constexpr int64_t kTokens = 2048;

StagePlan Plan() {
  return {.stage = Stage::kMatrixOrientation,
          .steps = 1000,
          .micro_batches = 1,
          .micro_batch = 1,
          .seq_len = kTokens,
          .lr = 1e-4};
}

struct Layer {
  LanguageModel teacher = RandomTeacher(PhiLayerConfig());
  LanguageModel student =
      MakeStudent(teacher, ConvertedConfig(teacher.config, /*groups=*/32, /*state_size=*/64),
                  v1::STUDENT_INIT_PAPER, /*seed=*/7);
  at::Tensor normed_BTE = at::randn({1, kTokens, teacher.config.hidden_size});
  RotaryTable rotary = RotaryFor(teacher, kTokens);
};

class OurLayer {
 public:
  explicit OurLayer(Layer& layer) : layer_(layer), trainer_(Plan(), layer.student, 0) {}

  void Run() {
    BlockTaps taps;
    taps.normed_BTE = layer_.normed_BTE;
    {
      const c10::NoGradGuard no_grad;
      Attention(layer_.normed_BTE, std::get<AttentionWeights>(layer_.teacher.blocks[0].mixer),
                layer_.teacher.attention_shape(), layer_.rotary, &taps.attention);
    }
    const absl::StatusOr<double> loss = trainer_.Accumulate(step_, taps, layer_.rotary);
    RETORT_CHECK(loss.ok()) << loss.status().ToString();
    const absl::Status checked = trainer_.CheckAccumulated(step_);
    RETORT_CHECK(checked.ok()) << checked.ToString();
    trainer_.Apply(step_++);
  }

 private:
  Layer& layer_;
  LayerTrainer trainer_;
  int64_t step_ = 0;
};

std::vector<double> OurPeak() {
  Layer layer;
  OurLayer ours(layer);
  for (int i = 0; i < 2; ++i) ours.Run();
  return {PeakResidentBytes()};
}

std::vector<double> PlainPeak() {
  Layer layer;
  PlainStep plain(Plan(), layer.teacher, layer.student, /*layer_by_layer=*/true);
  for (int i = 0; i < 2; ++i) plain.RunMatrixOf(0, layer.normed_BTE, layer.rotary);
  return {PeakResidentBytes()};
}

void BenchPhiLayer() {
  const double our_peak = RunInChild("phi layer, ours", "")[0];
  const double plain_peak = RunInChild("phi layer, plain", "")[0];
  Layer layer, plain_layer;
  OurLayer ours(layer);
  PlainStep plain(Plan(), plain_layer.teacher, plain_layer.student, /*layer_by_layer=*/true);
  const std::vector<double> seconds = TimeInterleaved(
      2, {[&] { ours.Run(); }, [&] { plain.RunMatrixOf(0, plain_layer.normed_BTE, plain_layer.rotary); }});
  const std::string name = "stage 1 step of a Phi-1.5 layer T=2048";
  Report(name + ", ours", seconds[0] * 1e3, "ms");
  Report(name + ", plain", seconds[1] * 1e3, "ms");
  Report(name + ", plain / ours", seconds[1] / seconds[0], "x", AtLeast(15));
  Report(name + ", peak memory", our_peak / (1 << 30), "GiB", AtMost(1.2));
  Report(name + ", peak memory of plain", plain_peak / (1 << 30), "GiB");
}

const bool registered[] = {RegisterChild("phi layer, ours", &OurPeak),
                           RegisterChild("phi layer, plain", &PlainPeak),
                           RegisterBench("phi_layer", &BenchPhiLayer)};

}  // namespace
}  // namespace retort
