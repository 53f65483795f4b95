#include "train/probe/keep_attention.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
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

class Measurement {
 public:
  Measurement(Mixtures& mixtures, int64_t keep, const std::vector<std::vector<int64_t>>& choices,
              const std::function<void(int64_t, int64_t)>& on_comparison, const std::atomic<bool>& stop)
      : mixtures_(mixtures), keep_(keep), choices_(choices), on_comparison_(on_comparison), stop_(stop) {
    all_ = layers() + keep * layers() - keep * (keep - 1) / 2 + 1 + static_cast<int64_t>(choices.size());
  }

  absl::StatusOr<LayerCosts> Run() {
    LayerCosts costs;
    for (int64_t l = 0; l < layers(); ++l) {
      ASSIGN_OR_RETURN(costs.alone.emplace_back(),
                       Compare([&] { return mixtures_.KlWithout(l); }, "layer %d alone converted", l));
    }
    for (const std::vector<int64_t>& choice : choices_) {
      std::vector<bool> converted(layers(), true);
      for (const int64_t layer : choice) converted[layer] = false;
      mixtures_.Rebase(std::move(converted));
      ASSIGN_OR_RETURN(costs.of_choices.emplace_back(),
                       Compare([&] { return mixtures_.Kl(); }, "%d layers kept as attention",
                               static_cast<int64_t>(choice.size())));
    }
    mixtures_.Rebase(std::vector<bool>(layers(), true));
    ASSIGN_OR_RETURN(costs.all, Compare([&] { return mixtures_.Kl(); }, "all %d layers converted", layers()));
    while (static_cast<int64_t>(costs.restored.size()) < keep_) {
      ASSIGN_OR_RETURN(costs.restored.emplace_back(), RestoreOne());
    }
    return costs;
  }

 private:
  int64_t layers() const { return static_cast<int64_t>(mixtures_.base().size()); }

  absl::StatusOr<LayerCosts::Restored> RestoreOne() {
    std::vector<bool> converted = mixtures_.base();
    LayerCosts::Restored best = {-1, 0};
    for (int64_t l = 0; l < layers(); ++l) {
      if (!converted[l]) continue;
      ASSIGN_OR_RETURN(const double kl,
                       Compare([&] { return mixtures_.KlWithout(l); }, "attention back in layer %d", l));
      if (best.layer < 0 || kl < best.kl) best = {l, kl};
    }
    converted[best.layer] = false;
    mixtures_.Rebase(std::move(converted));
    return best;
  }

  // `format` says what the model is, with one number in it.
  template <typename Kl>
  absl::StatusOr<double> Compare(const Kl& measure, const absl::FormatSpec<int64_t>& format, int64_t number) {
    if (stop_.load()) return absl::CancelledError("the probe was stopped");
    const double kl = measure();
    on_comparison_(++compared_, all_);
    if (std::isfinite(kl)) return kl;
    return absl::InternalError(absl::StrCat(
        "the probe of layers: the KL of the model with ", absl::StrFormat(format, number), " is ", kl,
        ", so no choice can be made: lower lr of stages 1 and 2, or name the layers to keep"));
  }

  Mixtures& mixtures_;
  const int64_t keep_;
  const std::vector<std::vector<int64_t>>& choices_;
  const std::function<void(int64_t, int64_t)>& on_comparison_;
  const std::atomic<bool>& stop_;
  int64_t all_ = 0;
  int64_t compared_ = 0;
};

std::vector<int64_t> EvenlySpaced(int64_t layers, int64_t keep) {
  std::vector<int64_t> chosen;
  for (int64_t n = 0; n < keep; ++n) chosen.push_back(n * layers / keep);
  return chosen;
}

std::vector<int64_t> Farthest(const std::vector<double>& distances, int64_t keep) {
  std::vector<int64_t> chosen(distances.size());
  std::iota(chosen.begin(), chosen.end(), 0);
  std::stable_sort(chosen.begin(), chosen.end(),
                   [&](int64_t a, int64_t b) { return distances[a] > distances[b]; });
  chosen.resize(keep);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

absl::StatusOr<ConvertedModel> Convert(const v1::JobSpec& job, const LanguageModel& teacher,
                                       const ModelConfig& config, const Batches& batches,
                                       const std::function<void(const StagePlan&, int64_t, double)>& on_step,
                                       const std::atomic<bool>& stop) {
  ConvertedModel converted = {MakeStudent(teacher, config, job.student().init(), job.data().seed()), {}};
  std::vector<int64_t> layers(config.num_layers());
  std::iota(layers.begin(), layers.end(), 0);
  for (const StagePlan& plan : PlanStages(job)) {
    if (plan.stage == Stage::kEndToEnd) break;
    Slice slice(plan, teacher, converted.student, batches, layers, /*side_by_side=*/1);
    for (int64_t step = 0; step < plan.steps; ++step) {
      ASSIGN_OR_RETURN(const SliceStep done, slice.Step(step, layers, stop));
      converted.distances.clear();
      for (const TrainedLayer& layer : done.layers) converted.distances.push_back(layer.loss);
      const double sum = std::accumulate(converted.distances.begin(), converted.distances.end(), 0.0);
      on_step(plan, step + 1, sum / static_cast<double>(layers.size()));
    }
  }
  return converted;
}

}  // namespace

absl::StatusOr<v1::JobSpec> ProbeJob(v1::JobSpec job, uint64_t steps) {
  v1::StagesSpec& stages = *job.mutable_stages();
  stages.clear_end_to_end();
  if (!stages.has_matrix_orientation() && !stages.has_hidden_state_alignment()) {
    return absl::InvalidArgumentError(
        "a probe converts layers by matrix_orientation and hidden_state_alignment, and the job has neither; "
        "give one");
  }
  const auto shorten = [&](v1::StageBudget& budget) {
    budget.set_tokens(std::min(budget.tokens(), steps * budget.tokens_per_step()));
  };
  if (stages.has_matrix_orientation()) shorten(*stages.mutable_matrix_orientation()->mutable_budget());
  if (stages.has_hidden_state_alignment()) {
    shorten(*stages.mutable_hidden_state_alignment()->mutable_budget());
  }
  return job;
}

MemoryNeed ProbeMemory(const v1::JobSpec& job, const v1::ModelShape& shape) {
  MemoryNeed most;
  for (const StagePlan& plan : PlanStages(job)) {
    if (plan.stage == Stage::kEndToEnd) continue;
    const MemoryNeed need =
        SliceMemory(job, shape, static_cast<v1::Stage>(plan.stage), shape.layers() - 1, shape.layers());
    if (need.peak() > most.peak()) most = need;
  }
  most.teacher += sizeof(float) * CountParameters(job, shape).head;  // which no slice needs
  return most;
}

absl::Status CheckProbeFits(const v1::JobSpec& job, const v1::ModelShape& shape, uint64_t memory_bytes) {
  const uint64_t need = ProbeMemory(job, shape).peak();
  if (need <= memory_bytes) return absl::OkStatus();
  constexpr double kGiB = 1 << 30;
  return absl::ResourceExhaustedError(absl::StrFormat(
      "does not fit: a probe trains all %d layers of the teacher at once, which takes %.1f GiB, and there "
      "are %.1f GiB; lower micro_batch or data.seq_len, take a larger machine, or name the layers to keep",
      shape.layers(), static_cast<double>(need) / kGiB, static_cast<double>(memory_bytes) / kGiB));
}

absl::StatusOr<ConvertedModel> ConvertEveryLayer(
    const v1::JobSpec& job, const LanguageModel& teacher, const Batches& batches,
    const std::function<void(const StagePlan&, int64_t, double)>& on_step, const std::atomic<bool>& stop) {
  v1::StudentSpec spec = job.student();
  spec.clear_keep_attention();
  ASSIGN_OR_RETURN(const ModelConfig config, StudentConfig(teacher.config, spec));
  return CatchTorch("converting every layer",
                    [&] { return Convert(job, teacher, config, batches, on_step, stop); });
}

absl::StatusOr<LayerCosts> MeasureLayerCosts(const LanguageModel& teacher, const LanguageModel& student,
                                             const Batches& batches, int64_t sequences, int64_t keep,
                                             const std::vector<std::vector<int64_t>>& choices,
                                             const std::function<void(int64_t, int64_t)>& on_comparison,
                                             const std::atomic<bool>& stop) {
  const int64_t layers = teacher.config.num_layers();
  RETORT_CHECK(keep < layers && sequences > 0)
      << keep << " of " << layers << ", " << sequences << " sequences";
  return CatchTorch("measuring layers", [&]() -> absl::StatusOr<LayerCosts> {
    const c10::NoGradGuard no_grad;
    ASSIGN_OR_RETURN(Mixtures mixtures, Mixtures::Open(teacher, student, batches, sequences));
    return Measurement(mixtures, keep, choices, on_comparison, stop).Run();
  });
}

absl::StatusOr<Probed> ProbeLayers(const v1::JobSpec& job, const LanguageModel& teacher,
                                   const Batches& batches, int64_t keep, int64_t sequences,
                                   const ProbeEvents& events, const std::atomic<bool>& stop) {
  ASSIGN_OR_RETURN(ConvertedModel converted, ConvertEveryLayer(job, teacher, batches, events.on_step, stop));
  Probed probed;
  probed.distances = std::move(converted.distances);
  probed.evenly.layers = EvenlySpaced(teacher.config.num_layers(), keep);
  probed.farthest.layers = Farthest(probed.distances, keep);
  ASSIGN_OR_RETURN(probed.costs, MeasureLayerCosts(teacher, converted.student, batches, sequences, keep,
                                                   {probed.evenly.layers, probed.farthest.layers},
                                                   events.on_comparison, stop));
  probed.evenly.kl = probed.costs.of_choices[0];
  probed.farthest.kl = probed.costs.of_choices[1];
  for (const LayerCosts::Restored& restored : probed.costs.restored) {
    probed.best.layers.push_back(restored.layer);
  }
  std::sort(probed.best.layers.begin(), probed.best.layers.end());
  probed.best.kl = probed.costs.restored.back().kl;
  return probed;
}

}  // namespace retort
