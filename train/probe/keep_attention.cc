#include "train/probe/keep_attention.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <numeric>

#include "core/base/check.h"
#include "core/base/status_macros.h"
#include "model/lm/torch_seam.h"
#include "model/student/make_student.h"
#include "train/stages/slice.h"

namespace retort {
namespace {

constexpr int kProbeText = 4;        // beside the numbers of enum Stage: text that no stage's order favours
constexpr int64_t kHeadChunk = 256;  // positions whose logits exist at once

// How far mixtures of a teacher's and a student's blocks are from the teacher, on fixed text. One mixture is
// the base: of those that differ from it in one layer only what lies above is computed.
class Mixtures {
 public:
  // The base is the teacher.
  static absl::StatusOr<Mixtures> Open(const LanguageModel& teacher, const LanguageModel& student,
                                       const Batches& batches, int64_t sequences) {
    Mixtures mixtures(teacher, student);
    mixtures.rotary_ = RotaryFor(teacher, batches.seq_len());
    for (int64_t n = 0; n < sequences; ++n) {
      ASSIGN_OR_RETURN(const std::vector<int32_t> ids, batches.Sequences(kProbeText, n, 1));
      mixtures.base_hidden_.push_back({Embed(teacher, at::tensor(ids, at::kInt).to(at::kLong).unsqueeze(0))});
    }
    mixtures.Rebase(std::vector<bool>(teacher.config.num_layers(), false));
    for (const auto& hidden : mixtures.base_hidden_) mixtures.teacher_hidden_.push_back(hidden.back());
    return mixtures;
  }

  const std::vector<bool>& base() const { return converted_; }

  // Student's blocks where `converted` says, else the teacher's.
  void Rebase(std::vector<bool> converted) {
    converted_ = std::move(converted);
    for (std::vector<at::Tensor>& hidden : base_hidden_) {
      hidden.resize(1);
      for (size_t l = 0; l < converted_.size(); ++l) hidden.push_back(Run(l, converted_[l], hidden.back()));
    }
  }

  // KL(teacher || mixture), nats per token, of the base.
  double Kl() const {
    return Mean([](const std::vector<at::Tensor>& hidden) { return hidden.back(); });
  }
  // Of the base with `layer` the other way.
  double KlWithout(int64_t layer) const {
    return Mean([&](const std::vector<at::Tensor>& hidden) {
      at::Tensor state = Run(layer, !converted_[layer], hidden[layer]);
      for (size_t l = layer + 1; l < converted_.size(); ++l) state = Run(l, converted_[l], state);
      return state;
    });
  }

 private:
  Mixtures(const LanguageModel& teacher, const LanguageModel& student)
      : teacher_(teacher), student_(student) {}

  at::Tensor Run(int64_t layer, bool converted, const at::Tensor& hidden) const {
    return RunBlock(converted ? student_ : teacher_, layer, hidden, rotary_, nullptr);
  }

  template <typename LastHidden>
  double Mean(const LastHidden& last_hidden) const {
    double sum = 0;
    int64_t tokens = 0;
    for (size_t n = 0; n < base_hidden_.size(); ++n) {
      sum += HeadKl(FinalNorm(teacher_, teacher_hidden_[n])[0],
                    FinalNorm(teacher_, last_hidden(base_hidden_[n]))[0]);
      tokens += teacher_hidden_[n].size(1);
    }
    return sum / static_cast<double>(tokens);
  }

  double HeadKl(const at::Tensor& teacher_TE, const at::Tensor& mixture_TE) const {
    double sum = 0;
    for (int64_t begin = 0; begin < teacher_TE.size(0); begin += kHeadChunk) {
      const int64_t count = std::min(kHeadChunk, teacher_TE.size(0) - begin);
      const auto log_softmax = [&](const at::Tensor& hidden_TE) {
        return at::log_softmax(HeadLogits(teacher_, hidden_TE.narrow(0, begin, count)), -1);
      };
      const at::Tensor log_t = log_softmax(teacher_TE);
      sum += (log_t.exp() * (log_t - log_softmax(mixture_TE))).sum(at::kDouble).item<double>();
    }
    return sum;
  }

  const LanguageModel& teacher_;
  const LanguageModel& student_;
  RotaryTable rotary_;
  std::vector<bool> converted_;
  std::vector<std::vector<at::Tensor>> base_hidden_;  // hidden_states of each sequence
  std::vector<at::Tensor> teacher_hidden_;            // the teacher's last ones
};

absl::StatusOr<LayerCosts> Measure(Mixtures& mixtures, int64_t keep,
                                   const std::function<void()>& on_comparison,
                                   const std::atomic<bool>& stop) {
  const auto layers = static_cast<int64_t>(mixtures.base().size());
  const auto without = [&](int64_t layer) -> absl::StatusOr<double> {
    if (stop.load()) return absl::CancelledError("the probe was stopped");
    const double kl = mixtures.KlWithout(layer);
    on_comparison();
    return kl;
  };
  LayerCosts costs;
  for (int64_t l = 0; l < layers; ++l) {
    ASSIGN_OR_RETURN(costs.alone.emplace_back(), without(l));
  }
  std::vector<bool> converted(layers, true);
  mixtures.Rebase(converted);
  costs.all = mixtures.Kl();
  while (static_cast<int64_t>(costs.restored.size()) < keep) {
    LayerCosts::Restored best = {-1, 0};
    for (int64_t l = 0; l < layers; ++l) {
      if (!converted[l]) continue;
      ASSIGN_OR_RETURN(const double kl, without(l));
      if (best.layer < 0 || kl < best.kl) best = {l, kl};
    }
    converted[best.layer] = false;
    mixtures.Rebase(converted);
    costs.restored.push_back(best);
  }
  return costs;
}

}  // namespace

absl::StatusOr<LanguageModel> ConvertEveryLayer(
    const v1::JobSpec& job, const LanguageModel& teacher, const Batches& batches,
    const std::function<void(const StagePlan&, int64_t, double)>& on_step, const std::atomic<bool>& stop) {
  v1::StudentSpec spec = job.student();
  spec.clear_keep_attention();
  ASSIGN_OR_RETURN(const ModelConfig config, StudentConfig(teacher.config, spec));
  LanguageModel student = MakeStudent(teacher, config, spec.init(), job.data().seed());
  std::vector<int64_t> layers(config.num_layers());
  std::iota(layers.begin(), layers.end(), 0);
  for (const StagePlan& plan : PlanStages(job)) {
    if (plan.stage == Stage::kEndToEnd) break;
    Slice slice(plan, teacher, student, batches, layers);
    for (int64_t step = 0; step < plan.steps; ++step) {
      ASSIGN_OR_RETURN(const SliceStep done, slice.Step(step, layers, stop));
      double sum = 0;
      for (const TrainedLayer& layer : done.layers) sum += layer.loss;
      on_step(plan, step + 1, sum / static_cast<double>(layers.size()));
    }
  }
  return student;
}

int64_t ComparisonsFor(int64_t layers, int64_t keep) {
  return layers + keep * layers - keep * (keep - 1) / 2;
}

absl::StatusOr<LayerCosts> MeasureLayerCosts(const LanguageModel& teacher, const LanguageModel& student,
                                             const Batches& batches, int64_t sequences, int64_t keep,
                                             const std::function<void()>& on_comparison,
                                             const std::atomic<bool>& stop) {
  const int64_t layers = teacher.config.num_layers();
  RETORT_CHECK(keep < layers && sequences > 0)
      << keep << " of " << layers << ", " << sequences << " sequences";
  return CatchTorch("measuring layers", [&]() -> absl::StatusOr<LayerCosts> {
    const c10::NoGradGuard no_grad;
    ASSIGN_OR_RETURN(Mixtures mixtures, Mixtures::Open(teacher, student, batches, sequences));
    return Measure(mixtures, keep, on_comparison, stop);
  });
}

}  // namespace retort
